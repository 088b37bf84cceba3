"""Reads a run directory for its report. Whatever is missing or does not read becomes a note, never an error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evolve.program import Program
from evolve.scoring import LINEUP
from workers.report.figures import Figure
from workers.report.payoffs import Payoffs, payoffs_of
from workers.report.values import as_figure, as_int, as_list, as_map, as_number, as_text, as_weights

_SHORT_ID = 8
_PLACE = re.compile(r"^(\d+[-_])+")  # player and place in the pool, which order the files


@dataclass(frozen=True)
class PoolEntry:
    """One file of ``policies/``."""

    label: str
    program: Program

    @property
    def id(self) -> str:
        return self.program.id


@dataclass(frozen=True)
class Iteration:
    number: int
    player: int
    start: int | None  # of PIBR
    opponents: Mapping[str, float]
    best_id: str | None
    best: Figure | None
    programs_scored: int | None
    failures: Mapping[str, int]
    llm_calls: int | None
    wall_s: float | None
    rejected: tuple[tuple[str, str, str], ...]  # id, fault, detail of finalists that were not promoted


@dataclass(frozen=True)
class IslandPoint:
    committed: float
    epoch: int
    best: float


@dataclass(frozen=True)
class Ancestor:
    """A program on the way to a promoted one. ``source`` is ``None`` if the run did not keep it."""

    id: str
    parents: tuple[str, ...]
    operator: str
    score: Figure | None
    source: str | None


@dataclass(frozen=True)
class Promotion:
    iteration: int
    id: str
    parents: tuple[str, ...]
    operator: str
    lineage: tuple[Ancestor, ...]


@dataclass(frozen=True)
class RunFiles:
    """What the files of a run say. ``summary`` and ``final`` are as read; the rest is typed."""

    summary: Mapping[str, object]
    experiment: str
    pool: tuple[PoolEntry, ...]
    iterations: tuple[Iteration, ...]
    payoffs: tuple[Payoffs, ...]
    islands: Mapping[tuple[int, int], Mapping[int, tuple[IslandPoint, ...]]]  # by iteration and player, then island
    promotions: tuple[Promotion, ...]
    commits: tuple[Mapping[str, object], ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def final(self) -> Mapping[str, object]:
        return as_map(self.summary.get("final"))

    def label(self, program_id: str) -> str:
        """The name of a pooled program, or of each in a line-up, else the head of its id."""
        if LINEUP in program_id:
            return ", ".join(map(self.label, program_id.split(LINEUP)))
        return next((p.label for p in self.pool if p.id == program_id), program_id[:_SHORT_ID])


def read_run(run_dir: Path) -> RunFiles:
    """Raises ``FileNotFoundError`` if ``run_dir`` is no directory."""
    if not run_dir.is_dir():
        raise FileNotFoundError(f"no run directory at {run_dir}")
    notes: list[str] = []
    summary = as_map(_json(run_dir / "summary.json", notes))
    payoffs = as_map(_json(run_dir / "payoffs.json", notes))
    events = _events(run_dir / "events.jsonl", notes)
    solved = tuple(p for entry in as_list(payoffs.get("iterations")) for p in payoffs_of(as_map(entry)))
    promoted = [program_id for p in solved for program_id in (*p.rows, *p.columns)]
    pool = _pool(run_dir / "policies", promoted, notes)
    known = {entry.id: entry.program.source for entry in pool}
    return RunFiles(
        summary=summary,
        experiment=_text(run_dir / "experiment.toml", notes),
        pool=pool,
        iterations=tuple(_iteration(as_map(entry)) for entry in as_list(summary.get("iterations"))),
        payoffs=solved,
        islands=_islands(events),
        promotions=_promotions(events, known),
        commits=tuple(e for e in events if e.get("type") == "commit"),
        notes=tuple(notes),
    )


# -- files --------------------------------------------------------------------------------------------------------


def _text(path: Path, notes: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        notes.append(f"{path.name} is not there ({error.strerror}): what it would show is left out.")
        return ""


def _json(path: Path, notes: list[str]) -> object:
    text = _text(path, notes)
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError) as error:
        notes.append(f"{path.name} does not read ({error}): what it would show is left out.")
        return None


def _events(path: Path, notes: list[str]) -> list[Mapping[str, object]]:
    """A run that was killed may leave half a line at the end; it is passed over and counted."""
    events, bad = [], 0
    for line in _text(path, notes).splitlines():
        try:
            events.append(as_map(json.loads(line)))
        except (ValueError, RecursionError):
            bad += 1
    if bad:
        lines = "1 line does not read and is" if bad == 1 else f"{bad} lines do not read and are"
        notes.append(f"{path.name}: {lines} left out.")
    return events


def _pool(folder: Path, promoted: Sequence[str], notes: list[str]) -> tuple[PoolEntry, ...]:
    """In the order of promotion where the payoffs tell it, then by file name."""
    place = {program_id: k for k, program_id in enumerate(dict.fromkeys(promoted))}
    entries: list[PoolEntry] = []
    for path in sorted(folder.glob("*.py")):
        program = Program(_text(path, notes))
        name = _PLACE.sub("", path.stem.replace(program.id, "")).strip("-_. ")
        if program.id not in {entry.id for entry in entries}:  # both populations may start from one seed program
            entries.append(PoolEntry(name or program.id[:_SHORT_ID], program))
    if not entries:
        notes.append("policies/ holds no program yet.")
    return tuple(sorted(entries, key=lambda entry: place.get(entry.id, len(place))))


def _iteration(entry: Mapping[str, object]) -> Iteration:
    best = as_map(entry.get("best_response"))
    counts = {kind: as_int(n) or 0 for kind, n in as_map(entry.get("failures")).items()}
    return Iteration(
        number=as_int(entry.get("iteration")) or 0,
        player=as_int(entry.get("player")) or 0,
        start=as_int(entry.get("start")),
        opponents=as_weights(entry.get("opponents")),
        best_id=as_text(best["id"]) if "id" in best else None,
        best=as_figure(best),
        programs_scored=as_int(entry.get("programs_scored")),
        failures={kind: n for kind, n in counts.items() if n},
        llm_calls=as_int(entry.get("llm_calls")),
        wall_s=as_number(entry.get("wall_s")),
        rejected=tuple(
            (as_text(r.get("id")), as_text(r.get("fault")), as_text(r.get("detail")))
            for r in map(as_map, as_list(entry.get("rejected")))
        ),
    )


def _islands(events: Sequence[Mapping[str, object]]) -> dict[tuple[int, int], dict[int, tuple[IslandPoint, ...]]]:
    """(Iteration, player) -> island -> its points, in the order of the events."""
    curves: dict[tuple[int, int], dict[int, list[IslandPoint]]] = {}
    for event in events:
        iteration, island = as_int(event.get("iteration")), as_int(event.get("island"))
        committed, best = as_number(event.get("committed")), as_number(event.get("best"))
        if event.get("type") != "island" or iteration is None or island is None or committed is None or best is None:
            continue
        point = IslandPoint(committed, as_int(event.get("epoch")) or 0, best)
        search = (iteration, as_int(event.get("player")) or 0)
        curves.setdefault(search, {}).setdefault(island, []).append(point)
    return {i: {k: tuple(points) for k, points in sorted(islands.items())} for i, islands in sorted(curves.items())}


def _promotions(events: Sequence[Mapping[str, object]], known: Mapping[str, str]) -> tuple[Promotion, ...]:
    """Of a search that ended twice (a killed run that went on), the later promotion counts."""
    found = [event for event in events if event.get("type") == "promotion"]
    last = {as_text(event["task"]) if "task" in event else str(k): event for k, event in enumerate(found)}
    return tuple(_promotion(event, known) for event in last.values())


def _promotion(event: Mapping[str, object], known: Mapping[str, str]) -> Promotion:
    def ancestor(entry: Mapping[str, object]) -> Ancestor:
        program_id = as_text(entry.get("id"))
        score = as_number(entry.get("score"))
        return Ancestor(
            id=program_id,
            parents=tuple(map(as_text, as_list(entry.get("parents")))),
            operator=as_text(entry.get("operator")),
            score=None if score is None else Figure(score, as_number(entry.get("stderr"))),
            source=as_text(entry["source"]) if "source" in entry else known.get(program_id),
        )

    return Promotion(
        iteration=as_int(event.get("iteration")) or 0,
        id=as_text(event.get("id")),
        parents=tuple(map(as_text, as_list(event.get("parents")))),
        operator=as_text(event.get("operator")),
        lineage=tuple(ancestor(as_map(entry)) for entry in as_list(event.get("lineage"))),
    )
