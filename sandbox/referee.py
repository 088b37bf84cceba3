"""Plays matches between programs nobody trusts: one referee per worker process, one zygote per referee.

Scores, legality, chance, opponents' moves and histories live only here. A program is told what its seat may
see, answers with a move, and its failure comes back as a :class:`sandbox.faults.Fault` that names the seat.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from games.core import Game, Observation, PolicyFactory
from games.match import with_program_sources
from sandbox.faults import Fault, FaultKind, SandboxError
from sandbox.isolation import IsolationReport
from sandbox.limits import Limits
from sandbox.lockstep import MatchRecord, Outcome, Player
from sandbox.remote_policy import ProgramDied, process_quota
from sandbox.solo import CHECK_SEED, CheckResult, moves_of_one, smoke_test
from sandbox.table import Table
from sandbox.zygote_client import ZygoteClient, ZygoteLost

__all__ = ["CheckResult", "MatchRecord", "Outcome", "Player", "Referee", "play", "probe_isolation"]

_LONE_ENDS = 2
"""Of matches played again alone: so many that end badly are enough."""
T = TypeVar("T")


class Referee:
    """Plays matches in one zygote's children. Not thread-safe; use as a context manager.

    ``core`` pins the calling thread, the zygote and all children to one processor core until :meth:`close`,
    which makes an exchange of messages about ten times cheaper; worker processes should each take their own.
    Raises :class:`SandboxError` if the isolation level is below ``limits.min_level``, unless ``allow_weak``.
    """

    def __init__(self, limits: Limits = Limits(), *, core: int | None = None) -> None:  # noqa: B008  frozen
        self.limits = limits
        self._core = core
        self._affinity_before: set[int] | None = None
        if core is not None:
            self._affinity_before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {core})
        self._zygote: ZygoteClient | None = None
        try:
            self._zygote = ZygoteClient(core)
            self._require_level(limits)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Referee:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the zygote and every child. Safe to call twice."""
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None
        if self._affinity_before is not None:
            os.sched_setaffinity(0, self._affinity_before)
            self._affinity_before = None

    @property
    def isolation(self) -> IsolationReport:
        """What the canary of the present zygote found."""
        return self._running().isolation

    # -- public --------------------------------------------------------------------------------------------------
    def play(
        self,
        game: Game,
        players: Sequence[object],
        *,
        seeds: Sequence[int],
        limits: Limits | None = None,
        strict: bool = False,
    ) -> list[Outcome]:
        """One match a seed, in the order of ``seeds``; ``players[i]`` sits in seat ``i``.

        A player is source text, an object with the attribute ``source: str``, or a trusted
        :data:`games.core.PolicyFactory` that runs in this process. Without ``limits``, the referee's own with the
        game's overrides count. ``strict`` gives each match fresh processes of its own. What a match comes to
        depends on its seed alone, not on the others played beside it, as long as no limit is met: a program that
        catches ``MemoryError`` may notice them, and one that hangs in two is not asked for the rest. Raises
        ``TypeError`` or ``ValueError`` on bad arguments and :class:`SandboxError` if the sandbox itself fails twice.
        """
        seated = [as_player(player) for player in players]
        if len(seated) != game.spec.num_players:
            raise ValueError(f"{game.spec.name} has {game.spec.num_players} players, got {len(seated)}")
        limits = self._limits_for(game, limits)
        game = with_program_sources(game, seated)
        size = 1 if strict else max(1, game.spec.lockstep)
        outcomes: list[Outcome] = []
        for start in range(0, len(seeds), size):
            outcomes += self._play_batch(game, seated, seeds[start : start + size], limits)
        return outcomes

    def check(self, game: Game, source: str, player: int | None = None, limits: Limits | None = None) -> CheckResult:
        """Loads a program, shows it the game's smoke observations, then has it play a match against itself.

        With ``player`` it is for that seat alone, and the game's seed program sits in the others."""
        started = time.monotonic()
        limits = self._limits_for(game, limits)
        own = player or 0
        fault = self._retried(lambda: self._at_table(game, limits, lambda table: smoke_test(table, source, own)))
        if fault is None:
            other = source if player is None else game.brief.seed_program
            seats = [source if seat == own else other for seat in range(game.spec.num_players)]
            outcome = self.play(game, seats, seeds=[CHECK_SEED], limits=limits)[0]
            fault = outcome if isinstance(outcome, Fault) else None
        wall_s = time.monotonic() - started
        level = self.isolation.level
        if fault is None:
            return CheckResult("ok", "", "", level, wall_s)
        return CheckResult(fault.kind.value, fault.detail, fault.traceback, level, wall_s, fault.stage.value)

    def ask(
        self,
        game: Game,
        source: str,
        player: int,
        observations: Sequence[Observation],
        seed: int,
        limits: Limits | None = None,
    ) -> list[object] | Fault:
        """The moves of one fresh program that is shown ``observations`` in order, distributions as they are."""
        limits = self._limits_for(game, limits)
        try:
            return self._retried(
                lambda: self._at_table(
                    game, limits, lambda table: moves_of_one(table, source, player, observations, seed)
                )
            )
        except ProgramDied as death:
            return death.fault

    def _at_table(self, game: Game, limits: Limits, work: Callable[[Table], T]) -> T:
        with Table(self._running(), game, limits) as table:
            return work(table)

    # -- one batch -----------------------------------------------------------------------------------------------
    def _play_batch(self, game: Game, players: Sequence[Player], seeds: Sequence[int], limits: Limits) -> list[Outcome]:
        """Plays ``seeds`` together. Of a process that died all matches are played again alone, of one without memory
        those that found none left: whose doing it was shows only then."""
        try:
            outcomes = self._retried(lambda: self._lockstep(game, players, seeds, limits))
        except ProgramDied as death:
            return [death.fault] if len(seeds) == 1 else self._each_alone(game, players, seeds, limits)
        if len(seeds) > 1:
            self._again_where_memory_was_out(game, players, seeds, limits, outcomes)
        return outcomes

    def _each_alone(self, game: Game, players: Sequence[Player], seeds: Sequence[int], limits: Limits) -> list[Outcome]:
        """After two that killed their process alone, too, the rest is taken to do the same."""
        outcomes: list[Outcome] = []
        deaths: list[Outcome] = []
        for seed in seeds:
            if len(deaths) == _LONE_ENDS:
                outcomes.append(deaths[-1])
                continue
            outcome, died = self._alone(game, players, seed, limits)
            outcomes.append(outcome)
            deaths += [outcome] if died else []
        return outcomes

    def _again_where_memory_was_out(
        self, game: Game, players: Sequence[Player], seeds: Sequence[int], limits: Limits, outcomes: list[Outcome]
    ) -> None:
        """After two that killed their process or ran into a time-out, which costs time, the rest stays as it is."""
        ends = 0
        for slot, outcome in enumerate(outcomes):
            if _is(FaultKind.MEMORY, outcome) and ends < _LONE_ENDS:
                outcomes[slot], died = self._alone(game, players, seeds[slot], limits)
                ends += died or _is(FaultKind.TIMEOUT, outcomes[slot])

    def _alone(self, game: Game, players: Sequence[Player], seed: int, limits: Limits) -> tuple[Outcome, bool]:
        """What one match comes to in processes of its own, and whether it killed one."""
        try:
            return self._retried(lambda: self._lockstep(game, players, [seed], limits))[0], False
        except ProgramDied as death:
            return death.fault, True

    def _lockstep(self, game: Game, players: Sequence[Player], seeds: Sequence[int], limits: Limits) -> list[Outcome]:
        untrusted = sum(isinstance(player, str) for player in players)
        try:
            with Table(self._running(), game, limits) as table:
                return table.play(players, seeds)
        finally:
            if sys.exc_info()[0] in (None, ProgramDied):
                self._running().prefork(process_quota(limits, len(seeds)), untrusted)

    # -- the sandbox itself --------------------------------------------------------------------------------------
    def _running(self) -> ZygoteClient:
        if self._zygote is None:
            raise SandboxError("this referee is closed")
        return self._zygote

    def _retried(self, work: Callable[[], T]) -> T:
        """Does ``work``, once more with a new zygote if the first is lost."""
        try:
            return work()
        except ZygoteLost:
            self._running().close()
            self._zygote = ZygoteClient(self._core)
            self._require_level(self.limits)
            return work()

    def _limits_for(self, game: Game, limits: Limits | None) -> Limits:
        limits = self.limits.override(game.spec.limits) if limits is None else limits
        self._require_level(limits)
        return limits

    def _require_level(self, limits: Limits) -> None:
        shortfall = self.isolation.shortfall(limits.min_level)
        if shortfall and not limits.allow_weak:
            raise SandboxError(shortfall)


def _is(kind: FaultKind, outcome: Outcome) -> bool:
    return isinstance(outcome, Fault) and outcome.kind is kind


def as_player(player: object) -> Player:
    """Source text of an untrusted player, or the factory of a trusted one. Raises ``TypeError``."""
    if isinstance(player, str):
        return player
    source = getattr(player, "source", None)
    if isinstance(source, str):
        return source
    if callable(player):
        factory: PolicyFactory = player
        return factory
    raise TypeError(f"a player is source text, a program or a policy factory, not {type(player).__name__}")


def play(
    game: Game, players: Sequence[object], *, seeds: Sequence[int], limits: Limits | None = None, strict: bool = False
) -> list[Outcome]:
    """:meth:`Referee.play` with a referee for this one call: for scripts; workers keep theirs (start costs 0.3 s)."""
    with Referee(limits or Limits()) as referee:
        return referee.play(game, players, seeds=seeds, limits=limits, strict=strict)


def probe_isolation(limits: Limits = Limits()) -> IsolationReport:  # noqa: B008  frozen
    """The level that this machine gives, whatever it is. Never raises; level 0 says why nothing could be started."""
    try:
        with Referee(replace(limits, allow_weak=True)) as referee:
            return referee.isolation
    except (SandboxError, OSError) as error:
        return IsolationReport(0, (), 0, os.uname().release, (), {"zygote": str(error)})
