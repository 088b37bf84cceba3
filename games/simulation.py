"""Programs that simulate each other: the fuel they share, and the service behind ``simulate``.

In a game of programs a policy may call ``simulate(source, opponent_source)``: which action does the first program
play, in the other seat, against the second? That program may simulate in turn, so all that one seat sets going in a
match draws on one tank of fuel; a simulation that finds it empty, or is nested too deeply, is answered with a
fixed action. This module decides who may run and what an answer is; how a program text is run is the business of
a :data:`Runner`, which the sandbox provides for untrusted texts and :class:`TrustedRunner` for those of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any, Protocol, runtime_checkable

from games.core import Game, Move, Observation
from games.match import IllegalMoveError, choose_action
from games.seeds import match_seed, sampling_rng, seat_seed

MAX_DEPTH = 128
"""What a runner may be asked to keep on its stack."""

Simulate = Callable[[str, str], int]
"""``simulate(source, opponent_source) -> action``."""


@dataclass(frozen=True)
class SimulationLimits:
    """What one seat may set going in one match: simulations in all, and how many of them inside one another."""

    max_calls: int = 256
    max_depth: int = MAX_DEPTH

    def __post_init__(self) -> None:
        for name, high in (("max_calls", 100_000), ("max_depth", MAX_DEPTH)):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= high:
                raise ValueError(f"{name} must be an integer from 0 to {high}, not {value!r}")


@dataclass(frozen=True)
class SimulationUse:
    """What one seat set going in one match: simulations run, how many inside one another at most, how many were
    refused for want of fuel, and how many ended without a legal move."""

    calls: int = 0
    deepest: int = 0
    refused: int = 0
    failed: int = 0


class SimulationFuel:
    """The account of one seat in one match; its counters are those of :class:`SimulationUse`."""

    def __init__(self, limits: SimulationLimits) -> None:
        self._limits = limits
        self.calls = 0
        self.depth = 0
        self.deepest = 0
        self.refused = 0
        self.failed = 0

    @property
    def use(self) -> SimulationUse:
        return SimulationUse(self.calls, self.deepest, self.refused, self.failed)

    def enter(self) -> bool:
        """Begins a simulation, if there is fuel for it; then :meth:`leave` must end it."""
        if self.calls >= self._limits.max_calls or self.depth >= self._limits.max_depth:
            self.refused += 1
            return False
        self.calls += 1
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        return True

    def leave(self) -> None:
        """Ends the innermost simulation. Raises ``RuntimeError`` if there is none."""
        if self.depth == 0:
            raise RuntimeError("no simulation is running")
        self.depth -= 1


@runtime_checkable
class SimulatedGame(Game, Protocol):
    """A game of programs as the service and the sandbox see it. ``sources`` are the players' texts, by seat."""

    @property
    def simulation(self) -> SimulationLimits: ...

    @property
    def sources(self) -> tuple[str, str]: ...

    @property
    def num_actions(self) -> int: ...

    def reference_programs(self) -> Mapping[str, str]:
        """Trusted texts by name, which may run in the referee's own process."""
        ...

    def observation(self, player: int, own_source: str, opponent_source: str) -> Observation:
        """What a program in seat ``player`` sees at the start of a match."""
        ...

    def fallback(self, player: int) -> int:
        """The answer for a program in seat ``player`` that was not run or gave no legal move."""
        ...


@dataclass(frozen=True)
class Simulated:
    """One program to be run for one move; ``simulate`` is what it may call."""

    source: str
    player: int
    seed: int
    observation: Observation
    simulate: Simulate


Runner = Callable[[Simulated], object]
"""Runs a program afresh and returns its move, yet to be judged. Raises :class:`ProgramFailedError`."""


class ProgramFailedError(Exception):
    """The simulated program did not load, raised, or ran out of time or memory."""


class UntrustedSourceError(ValueError):
    """A program that is not of this package was to be run outside the sandbox."""


class SimulationService:
    """``simulate`` for one seat of one match. ``seed`` is the seat's; every simulation has a seed of its own made
    from it, so a match replays and no simulation foretells the random draws of the match itself."""

    def __init__(self, game: SimulatedGame, seed: int, run: Runner) -> None:
        self._game = game
        self._seed = seed
        self._run = run
        self.fuel = SimulationFuel(game.simulation)

    def for_seat(self, caller: int) -> Simulate:
        """What the program in seat ``caller`` may call; those that it simulates sit in the other one."""
        player = 1 - caller

        def simulate(source: str, opponent_source: str) -> int:
            if not self.fuel.enter():
                return self._game.fallback(player)
            try:
                return self._play(source, opponent_source, player)
            finally:
                self.fuel.leave()

        return simulate

    def _play(self, source: str, opponent_source: str, player: int) -> int:
        game = self._game
        seed = match_seed(self._seed, "simulation", self.fuel.calls)
        seen = game.observation(player, source, opponent_source)
        program = Simulated(source, player, seat_seed(seed, player), seen, self.for_seat(player))
        legal: Any = seen.get("legal_actions")
        try:
            return choose_action(self._run(program), game.num_actions, legal, sampling_rng(seed, player))
        except (ProgramFailedError, IllegalMoveError):
            self.fuel.failed += 1
            return game.fallback(player)


class TrustedRunner:
    """Runs the given texts in this process, and no others."""

    def __init__(self, texts: Collection[str]) -> None:
        self._texts = frozenset(texts)

    def __call__(self, program: Simulated) -> object:
        if program.source not in self._texts:
            raise UntrustedSourceError("only the sandbox may run this program; bind a runner of the referee's")
        return instantiate(program.source, program.player, program.seed, program.simulate)(program.observation)


def instantiate(source: str, player: int, seed: int, simulate: Simulate) -> Callable[[Observation], Move]:
    """Makes a policy of a trusted text, in this process: what answers observations."""
    namespace: dict[str, Any] = {"simulate": simulate}
    exec(_compiled(source), namespace)
    answer: Callable[[Observation], Move] = (
        namespace["Policy"](player, seed).act if "Policy" in namespace else namespace["policy"]
    )
    return answer


@lru_cache(maxsize=256)
def _compiled(source: str) -> CodeType:
    return compile(source, "<trusted program>", "exec", dont_inherit=True)
