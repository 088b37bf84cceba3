"""The driver of a run: puts store, budget, model, workers, oracle and method together, watches them, ends cleanly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from evolve.archive.core import Archive
from evolve.archive.store import Store
from evolve.llm.budget import Ledger, Usage
from evolve.llm.core import LLM, ProviderDownError
from evolve.llm.outage import stop_waiting
from evolve.oracles.archive_search import Fleet, OracleSetup
from evolve.oracles.core import BestResponseTask
from evolve.oracles.evolver import Search
from evolve.oracles.registry import make_oracle
from evolve.program import Program
from evolve.psro import IterationRecord
from evolve.reinforcement.core import Trainer
from evolve.scoring import LINEUP
from games.core import Game
from games.registry import make_game
from workers import offers
from workers.experiment import Experiment
from workers.limits import WallClock, exhausted
from workers.methods.core import Findings, Method, MethodSetup
from workers.methods.registry import make_method
from workers.models import OutageWatch
from workers.pool import PoolScorer, ScorerPool
from workers.search_events import log_search
from workers.supervision import RunInterruptedError, on_signals, unless_failed
from workers.telemetry import Snapshot, Telemetry

_TICK_S = 1.0
_RATE_WINDOW_S = 10.0


@dataclass(frozen=True)
class Outcome:
    """What a run came to. ``stopped`` says why it ended before its last iteration, if it did."""

    findings: Findings
    spent: Usage
    stopped: str | None


@dataclass
class _Current:
    """The search under way, for those who watch it."""

    task: BestResponseTask
    archive: Archive
    iteration: int
    commits: list[tuple[float, int]]


class Controller:
    """One run (or replay), given its store, its scoring processes, its evolvers and the driver's own model.

    A replay ends after ``replayed_searches``, whatever cut one of them short: the run may have gone on after it.
    ``offered``: see :class:`evolve.psro.Psro`; by default what other jobs leave in the run's store;
    by default the scoring processes train."""

    def __init__(
        self,
        experiment: Experiment,
        store: Store,
        pool: ScorerPool,
        fleet: Fleet,
        llm: LLM,
        telemetry: Telemetry,
        replayed_searches: int | None = None,
        offered: Callable[[int], Sequence[tuple[int, Program]]] | None = None,
        trainer: Trainer | None = None,
    ) -> None:
        self._experiment = experiment
        self._game: Game = make_game(experiment.game.name, **experiment.game.parameters)
        self._store = store
        self._pool = pool
        self._evolvers = fleet
        self._fleet: Fleet | None = None
        self._llm = llm
        self._trainer = trainer or PoolScorer(pool)
        self._telemetry = telemetry
        self._ledger: Ledger = store.ledger(experiment.budget)
        self._archive_settings = experiment.archive_settings(self._game.spec.return_range)
        self._current: _Current | None = None
        self._interrupted = False
        self._replayed_searches = replayed_searches
        self._offered = offered or offers.from_store(store)
        self._searches_ended = 0
        self._cut_short: str | None = None
        self._drained = False
        self._outages = OutageWatch(experiment, store, telemetry)
        self._wall = WallClock(store, experiment.budget)
        self._method = self._make_method()

    async def run(self) -> Outcome:
        """Raises :class:`RunInterruptedError`, or what the store, the sandbox or the provider raise."""
        main = asyncio.current_task()
        assert main is not None
        ticker = asyncio.create_task(self._tick())
        with ExitStack() as stack:
            stack.callback(ticker.cancel)
            stack.enter_context(on_signals(partial(self._stop, main)))
            try:
                return await self._run(ticker)
            except asyncio.CancelledError:
                if self._interrupted:
                    raise RunInterruptedError from None
                raise

    async def _run(self, ticker: asyncio.Task[None]) -> Outcome:
        await unless_failed(self._method.search(), ticker)
        if self._interrupted:
            raise RunInterruptedError
        findings = await self._method.findings()
        early = self._cut_short or not self._method.complete
        return Outcome(findings, self._ledger.spent(), self._stop_reason() if early else None)

    # -- the oracle and its fleet ------------------------------------------------------------------------------

    def _make_method(self) -> Method:
        return make_method(
            MethodSetup(
                self._experiment,
                self._game,
                self._store,
                self._pool,
                make_oracle(self._experiment.oracle.kind, self._oracle_setup()),
                observer=self,
                telemetry=self._telemetry,
                llm_calls=lambda: self._ledger.spent().llm_calls,
                stop_reason=self._stop_reason,
                offered=self._offered,
            )
        )

    def _oracle_setup(self) -> OracleSetup:
        return OracleSetup(
            game=self._game,
            store=self._store,
            scorer=PoolScorer(self._pool),
            llm=self._llm,
            in_flight=self._experiment.llm.in_flight,
            fleet=self._evolvers,
            supervise=self._supervise,
            archive=self._archive_settings,
            prompts=self._experiment.prompts(),
            carry_over=self._experiment.oracle.carry_over,
            cascade=self._experiment.cascade(),
            effort=self._experiment.effort(),
            trainer=self._trainer,
        )

    async def _supervise(self, fleet: Fleet, search: Search) -> None:
        """Runs the fleet; a search that was cut short by a signal is not promoted from."""
        self._fleet = fleet
        if self._interrupted:
            raise RunInterruptedError
        try:
            finished = await fleet.evolve(search)
        except ProviderDownError:
            if not self._drained:
                raise
            finished = False  # what waited for the provider was told not to
        if self._interrupted:
            raise RunInterruptedError
        if not finished:
            self._cut_short = "the rest of the budget does not pay for another call"

    # -- the method's observer ---------------------------------------------------------------------------------------

    def search_started(self, task: BestResponseTask, record: IterationRecord) -> None:
        if self._interrupted:
            raise RunInterruptedError
        named = {"+".join(i[:8] for i in key.split(LINEUP)): weight for key, weight in record.opponents.items()}
        support = ", ".join(f"{name} {weight:.2f}" for name, weight in named.items())
        self._telemetry.say(f"iteration {record.iteration}: best response to {support}")
        archive = self._store.archive(task.task_id, self._archive_settings)
        self._current = _Current(task, archive, record.iteration, [])

    def search_ended(self, task: BestResponseTask, record: IterationRecord) -> None:
        self._searches_ended += 1
        if self._current is not None:
            self._show(self._current)  # whoever watches sees the last commits too, not those of the last tick
        self._log_islands(record.iteration)
        log_search(self._store, self._archive_settings, task, record)
        best = record.best_response
        if best is None:
            self._telemetry.say(f"iteration {record.iteration}: no program outside the pool ran")
        else:
            self._telemetry.say(
                f"iteration {record.iteration}: promoted {cast(str, best['id'])[:8]}, "
                f"{best['mean_return']:+.1f} ± {best['stderr']:.1f} on fresh seeds, {record.programs_scored} programs, "
                f"{record.llm_calls} LLM calls, {record.wall_s:.0f} s"
            )
        self._current = None

    # -- watching ----------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(_TICK_S)
            beats += 1
            self._wall.check(self._drain)
            if self._outages.look():
                continue
            if self._current is not None:
                self._show(self._current)
                if beats % 2 == 0:
                    self._log_islands(self._current.iteration)

    def _show(self, current: _Current) -> None:
        progress, best = current.archive.progress(), current.archive.best(1)
        now = time.monotonic()
        current.commits.append((now, progress.committed))
        while now - current.commits[0][0] > _RATE_WINDOW_S:
            current.commits.pop(0)
        (then, before), elapsed = current.commits[0], now - current.commits[0][0]
        rate = (progress.committed - before) / elapsed if now > then else 0.0
        self._telemetry.snapshot(
            Snapshot(
                current.iteration,
                self._method.iterations,
                progress,
                best[0] if best else None,
                rate,
                self._ledger.spent(),
                self._experiment.budget,
            )
        )

    def _log_islands(self, iteration: int) -> None:
        if self._current is None:
            return
        progress = self._current.archive.progress()
        for island in progress.islands:
            self._store.log(
                {
                    "type": "island",
                    "iteration": iteration,
                    "player": self._current.task.scoring.player,
                    "island": island.ref.index,
                    "epoch": island.ref.epoch,
                    "committed": progress.committed,
                    "best": island.best,
                    "mean": island.mean,
                    "programs": island.programs,
                    "t_s": time.time(),
                }
            )

    # -- ending early ------------------------------------------------------------------------------------------

    def _stop_reason(self) -> str | None:
        if self._replayed_searches is not None:
            return "the recording ends here" if self._searches_ended >= self._replayed_searches else None
        return exhausted(self._ledger.spent(), self._experiment.budget) or self._wall.exhausted() or self._cut_short

    def _drain(self) -> None:
        self._drained = True
        stop_waiting(self._llm)
        if self._fleet is not None:
            self._draining = asyncio.ensure_future(self._fleet.drain())

    def _stop(self, main: asyncio.Task[Any]) -> None:
        again, self._interrupted = self._interrupted, True
        if again or self._current is None:
            main.cancel()
            return
        self._telemetry.say("stopping: finishing the calls in flight, for they are paid for (again to stop now)")
        self._drain()
