"""What the end of a search leaves in the event log: the order of its archive's operations, and who was promoted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from evolve.archive.core import Archive, ArchiveSettings
from evolve.archive.store import Record, Store, each_event
from evolve.candidate import Candidate
from evolve.oracles.carry_over import OPERATOR as CARRIED
from evolve.oracles.core import BestResponseTask
from evolve.psro import IterationRecord
from evolve.scoring import Scored


def log_search(store: Store, settings: ArchiveSettings, task: BestResponseTask, record: IterationRecord) -> None:
    """Logs the events of a search that ended. To be called before the search's checkpoint is written.

    A run killed between the two ends the search again: the same events are then not logged twice. Where the search
    went on instead (a budget was raised), the later event of a task counts."""
    archive = store.archive(task.task_id, settings)
    order = " ".join(f"{operation[0]}{index}" for operation, index in archive.operations())
    events: list[dict[str, Any]] = [{"type": "order", "task": task.task_id, "operations": order}]
    best = record.best_response
    if best is not None:
        descent = lineage(store, settings, task, cast(str, best["id"]))
        place = {"type": "promotion", "task": task.task_id, "iteration": record.iteration}
        events.append({**place, **descent[0], "lineage": descent})
    mark = f"ending:{task.task_id}"
    logged = each_event(store) if store.load(mark) is not None else ()
    known = [position for earlier in logged for position, event in enumerate(events) if _same(event, earlier)]
    store.save(mark, {"iteration": record.iteration})
    for position, event in enumerate(events):
        if position not in known:
            store.log(event)


def _same(event: Mapping[str, Any], logged: Record) -> bool:
    return all(logged.get(key) == value for key, value in event.items())


def lineage(store: Store, settings: ArchiveSettings, task: BestResponseTask, program_id: str) -> list[dict[str, Any]]:
    """The program and its first parents back to a founder, with their sources for the report's diffs.

    A founder that was carried over has its ancestors in the archive of an earlier search."""
    archives = [store.archive(task_id, settings) for task_id in (task.task_id, *reversed(task.earlier))]
    descent: list[dict[str, Any]] = []
    wanted: str | None = program_id
    while wanted is not None and wanted not in {entry["id"] for entry in descent}:
        candidate = _origin(archives, wanted)
        if candidate is None:
            break
        descent.append(_entry(candidate))
        wanted = candidate.parents[0] if candidate.parents else None
    return descent


def _origin(archives: list[Archive], program_id: str) -> Candidate | None:
    """As it was made, rather than as it was carried over."""
    found = [c for archive in archives if (c := archive.candidate(program_id)) is not None]
    made = [candidate for candidate in found if candidate.operator != CARRIED]
    return next(iter([*made, *found]), None)


def _entry(candidate: Candidate) -> dict[str, Any]:
    scored = candidate.evaluation if isinstance(candidate.evaluation, Scored) else None
    return {
        "id": candidate.program.id,
        "parents": list(candidate.parents),
        "operator": candidate.operator,
        # A program that was repaired has a parent without a score.
        "score": scored.mean_return if scored else None,
        "stderr": scored.stderr if scored else None,
        "source": candidate.program.source,
    }
