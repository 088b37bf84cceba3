"""Runs a finished run again from its recorded completions, in its recorded order, and compares what comes out.

The replay has a store of its own and no model: prompts, edits, evaluations, islands, promotions, payoffs and the final
metrics are all computed anew. An undisturbed run replays identically; the first difference says where it does not.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolve.archive.redis import RedisStore
from evolve.archive.server import ensure_server, stop_server
from evolve.llm.budget import Budget
from evolve.llm.core import BudgetExhaustedError, Completion, Prompt
from evolve.llm.replay import ReplayLLM, ReplayMissError, load_completions
from evolve.psro import CHECKPOINT
from evolve.reinforcement.core import Trained, Trainer, TrainingStage
from games.registry import make_game
from workers import offers
from workers.controller import Controller, Outcome
from workers.experiment import Experiment
from workers.fleet import OrderError, ReplayFleet
from workers.pool import LocalPool, PoolScorer, default_size
from workers.run import llm_name, versions
from workers.run_directory import RunDirectory
from workers.scorer import ScorerConfig
from workers.telemetry import Telemetry

_TIMING = frozenset({"t_s", "wall_s", "epoch"})  # an island's epoch is logged as it was at the claim


def replay(run: RunDirectory, experiment: Experiment, telemetry: Telemetry) -> str | None:
    """The first difference between the run and its replay; ``None`` if they are identical.

    Raises ``RunDirectoryError`` if the run has not ended or its files do not read back, ``RecordingError`` if its
    recording does not."""
    summary = run.summary()
    events = run.events()
    # The recorded order ends where the budget ended the run; this machine's clock must not end it earlier.
    again = replace(experiment, execution="local", budget=Budget())
    again = replace(again, psro=replace(again.psro, iterations=_iterations(summary)))
    llm = ReplayLLM(load_completions(run.path), llm_name(experiment.llm.model))
    orders = {e["task"]: _order(e["operations"]) for e in events if e["type"] == "order"}
    game = make_game(again.game.name, **again.game.parameters)
    with tempfile.TemporaryDirectory(prefix="csro-replay-") as directory:
        store = RedisStore(ensure_server(Path(directory)), again.run_id, Path(directory))
        pool = LocalPool(ScorerConfig(again.game, again.sandbox), default_size(again.workers.scorers))
        try:
            fleet = ReplayFleet(game, store, llm, PoolScorer(pool), orders)
            committed = {f"{e['task']}/{e['proposal']}" for e in events if e["type"] == "commit"}
            for event in events:
                if event["type"] == offers.START:
                    store.save(CHECKPOINT, event["state"])
            searches, offered = len(summary["iterations"]), offers.from_events(events)
            driver, trainer = _CommittedOnly(llm, committed), _CommittedStages(PoolScorer(pool), committed)
            controller = Controller(again, store, pool, fleet, driver, telemetry, searches, offered, trainer)
            outcome = asyncio.run(controller.run())
            repeated = _plain(store.events())
        except (ReplayMissError, OrderError) as error:
            return str(error)
        finally:
            pool.close()
            store.close()
            stop_server(Path(directory))
    return first_difference(events, repeated) or _summary_difference(summary, outcome)


class _CommittedOnly:
    """For oracles that ask from the driver: the budget ends where the run's own did, at what was never committed."""

    def __init__(self, llm: ReplayLLM, samples: Set[str]) -> None:
        self.model = llm.model
        self._llm = llm
        self._samples = samples

    async def complete(self, prompt: Prompt) -> Completion:
        if prompt.sample and prompt.sample not in self._samples:
            raise BudgetExhaustedError(f"the run committed no proposal {prompt.sample}")
        try:
            return await self._llm.complete(prompt)
        except ReplayMissError as error:
            if prompt.sample:
                raise
            raise BudgetExhaustedError(str(error)) from error  # a description the run could not pay for


class _CommittedStages:
    """The same for trainings."""

    def __init__(self, trainer: Trainer, samples: Set[str]) -> None:
        self._trainer = trainer
        self._samples = samples

    async def train(self, stage: TrainingStage) -> Trained:
        if stage.sample not in self._samples:
            raise BudgetExhaustedError(f"the run committed no proposal {stage.sample}")
        return await self._trainer.train(stage)


def _iterations(summary: Mapping[str, Any]) -> int:
    """How many the run made, whatever it meant to make."""
    return max((entry["iteration"] for entry in summary["iterations"]), default=0)


def first_difference(recorded: Sequence[Mapping[str, Any]], repeated: Sequence[Mapping[str, Any]]) -> str | None:
    """Compares commits and promotions one by one, times aside."""
    first, second = _compared(recorded), _compared(repeated)
    for before, after in zip(first, second, strict=False):
        if before != after:
            keys = [key for key in before if before.get(key) != after.get(key)]
            shown = [f"{key} {before.get(key)!r} became {after.get(key)!r}" for key in keys[:3]]
            shown += [f"{key} is not in the recording" for key in after if key not in before][:3]
            return f"{_place(before)}: {', '.join(shown)}"
    if len(first) != len(second):
        return f"the run has {len(first)} commits and promotions, its replay {len(second)}"
    return None


def other_versions(summary: Mapping[str, Any]) -> str:
    """Of what a run was computed with, that which is of another version here: it may be why a replay differs."""
    recorded = summary.get("versions")
    pairs = [(name, recorded.get(name), now) for name, now in versions().items()] if isinstance(recorded, dict) else []
    return "; ".join(f"{name} {then} then, {now} now" for name, then, now in pairs if then not in (None, now))


def _summary_difference(summary: Mapping[str, Any], outcome: Outcome) -> str | None:
    repeated = outcome.findings.to_json()
    for part in ("iterations", "final"):
        before, after = _untimed(summary[part]), _untimed(json.loads(json.dumps(repeated[part])))
        if before != after:
            return f"summary.json, {part}: {_path_of_difference(before, after)}"
    return None


def _path_of_difference(before: Any, after: Any, path: str = "") -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            if before.get(key) != after.get(key):
                return _path_of_difference(before.get(key), after.get(key), f"{path}.{key}")
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (x, y) in enumerate(zip(before, after, strict=True)):
            if x != y:
                return _path_of_difference(x, y, f"{path}[{i}]")
    return f"{path.lstrip('.')} {before!r} became {after!r}"


def _untimed(value: Any) -> Any:
    """Without what measures this machine, and without LLM calls, of which a replay makes none."""
    if isinstance(value, dict):
        return {k: _untimed(v) for k, v in value.items() if k not in _TIMING | {"llm_calls"}}
    if isinstance(value, list):
        return [_untimed(v) for v in value]
    return value


def _compared(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Commits by task and proposal, then promotions: several evolvers may log in another order than they committed.

    Of a search that ended twice, since more was budgeted when a killed run went on, the later promotion counts."""
    compared = {
        (event["type"], event["task"], event.get("proposal", 0)): {k: v for k, v in event.items() if k not in _TIMING}
        for event in events
        if event["type"] in ("commit", "promotion")
    }
    return [compared[key] for key in sorted(compared)]


def _place(event: Mapping[str, Any]) -> str:
    if event["type"] == "commit":
        return f"task {event['task']}, proposal {event['proposal']}"
    return f"promotion of iteration {event['iteration']}"


def _order(operations: str) -> list[tuple[str, int]]:
    names = {"s": "sample", "c": "commit"}
    return [(names[word[0]], int(word[1:])) for word in operations.split()]


def _plain(events: Iterable[Mapping[str, object]]) -> list[dict[str, Any]]:
    """As they would read back from ``events.jsonl``."""
    return [json.loads(json.dumps(dict(event))) for event in events]
