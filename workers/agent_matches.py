"""The matches of the LLM agent against the bots: many at a time, each kept in the store once it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from evolve.archive.store import Store
from evolve.baselines.llm_agent import LLMAgent, Stage, play_match
from evolve.llm.core import BudgetExhaustedError, LLMError, NotAskedError
from evolve.llm.places import Places
from evolve.llm.recording import RecordedLLM
from games.core import Game
from workers.errors import RunFailedError
from workers.experiment import Experiment
from workers.limits import exhausted
from workers.models import OutageWatch
from workers.scorer import matches_against
from workers.supervision import RunInterruptedError, on_signals, unless_failed
from workers.telemetry import Telemetry, budget_line

_TICK_S = 1.0


@dataclass(frozen=True)
class AgentMatch:
    """A match that is over: the agent's return, the answers it got, and those of them that named no action."""

    value: float
    answers: int
    unreadable: int


class AgentMatches:
    """``matches`` against each bot; at most ``llm.in_flight`` are under way, each with at most one call.

    The first match against every bot comes before the second against any. Seeds and seats are those of any other
    player's evaluation with the same seed."""

    def __init__(
        self,
        experiment: Experiment,
        game: Game,
        stage: Stage,
        store: Store,
        llm: RecordedLLM,
        matches: int,
        out: Path,
        telemetry: Telemetry,
    ) -> None:
        self._experiment = experiment
        self._game = game
        self._stage = stage
        self._store = store
        self._llm = llm
        self._out = out
        self._telemetry = telemetry
        self._bots = game.reference_population()
        self._seeds = {bot: matches_against(experiment.seed, bot, matches) for bot in self._bots}
        self._asked = [(bot, k) for k in range(matches) for bot in self._bots]
        kept = {each: store.load(_record(*each)) for each in self._asked}
        self._finished = {each: AgentMatch(**cast(Any, match)) for each, match in kept.items() if match is not None}
        self._ledger = store.ledger(experiment.budget)
        self._outages = OutageWatch(experiment, store, telemetry)
        self._places = Places(experiment.llm.in_flight)
        self._ended_by: Exception | None = None
        self._interrupted = False
        self._agents: list[LLMAgent] = []
        self._main: asyncio.Task[Any] | None = None

    async def play(self) -> Mapping[str, Sequence[AgentMatch]]:
        """All matches by bot. Raises :class:`RunFailedError` where the budget or the provider does not suffice,
        :class:`RunInterruptedError`, or what the store raises; finished matches and answers are kept."""
        self._main = asyncio.current_task()
        self._llm.take(self._places)
        room = asyncio.Semaphore(self._experiment.llm.in_flight)
        left = [each for each in self._asked if each not in self._finished]
        with on_signals(self._interrupt):
            ticker = asyncio.create_task(self._tick())
            try:
                await unless_failed(self._all(left, room), ticker)
            except asyncio.CancelledError:
                if not self._interrupted:
                    raise
            finally:
                ticker.cancel()
        if self._interrupted:
            raise RunInterruptedError
        if self._ended_by is not None:
            raise RunFailedError(self._unfinished(self._ended_by))
        return {bot: [self._finished[bot, k] for k in range(len(seeds))] for bot, seeds in self._seeds.items()}

    async def _all(self, left: Sequence[tuple[str, int]], room: asyncio.Semaphore) -> None:
        """An error in one match lets the calls under way finish, for they are paid for, then raises."""
        matches = [asyncio.create_task(self._match(*each, room)) for each in left]
        try:
            await asyncio.gather(*matches)
        except Exception:
            self._drain()
            await asyncio.gather(*matches, return_exceptions=True)
            raise
        finally:
            for match in matches:
                match.cancel()

    async def _match(self, bot: str, k: int, room: asyncio.Semaphore) -> None:
        async with room:
            if self._ended_by is not None or self._interrupted:
                return
            settings = self._experiment.llm
            name = f"{bot}, match {k}"
            agent = LLMAgent(self._llm, self._stage, name, settings.temperature, settings.max_output_tokens)
            self._agents.append(agent)
            try:
                # Seats alternate, as they do for every player of a symmetric game.
                value = await play_match(self._game, agent, self._bots[bot], self._seeds[bot][k], seat=k % 2)
            except NotAskedError:
                return
            except (BudgetExhaustedError, LLMError) as error:
                self._ended_by = self._ended_by or error
                self._drain()
                return
            match = AgentMatch(value, agent.calls, agent.unreadable)
            await self._store.aside(self._store.save, _record(bot, k), asdict(match))
            self._finished[bot, k] = match

    def _drain(self) -> None:
        """Calls under way come to their end, for they are paid for; no other is made."""
        self._places.close()
        self._llm.stop_waiting()

    def _interrupt(self) -> None:
        again, self._interrupted = self._interrupted, True
        if again:
            assert self._main is not None
            self._main.cancel()
            return
        self._telemetry.say("stopping: finishing the calls in flight, for they are paid for (again to stop now)")
        self._drain()

    async def _tick(self) -> None:
        while True:
            self._outages.look()
            # A model that cannot be read, one cut off while it thinks, say, is to be seen before all is paid for.
            unreadable = sum(agent.unreadable for agent in self._agents)
            answers = sum(agent.calls for agent in self._agents)
            spent = budget_line(self._ledger.spent(), self._experiment.budget)
            self._telemetry.live(
                f"{len(self._finished)}/{len(self._asked)} matches finished, {unreadable} of {answers} answers "
                f"unreadable, {spent}"
            )
            await asyncio.sleep(_TICK_S)

    def _unfinished(self, error: Exception) -> str:
        kept = f"{len(self._finished)} of {len(self._asked)} matches are finished, and nothing is lost"
        if not isinstance(error, BudgetExhaustedError):
            return f"{error}; {kept}: the same command goes on"
        reason = exhausted(self._ledger.spent(), self._experiment.budget)
        return (
            f"{reason or 'the rest of the budget does not pay for another call'}; {kept}: csro evaluate llm with the "
            f"same settings, --out {self._out} and a larger budget goes on"
        )


def _record(bot: str, k: int) -> str:
    return f"llm_agent:{bot}:{k}"
