"""Runs the programs that programs simulate, for one batch of matches of a game of programs. On the referee's side.

A simulated text is as little trusted as any: it runs once, for one move, in a fresh child with a seed of its own, and
all that comes back is an action. It learns of nobody but the two texts that it is shown. Texts of the game's own
reference programs run in this process, which is faster and comes to the same move. Each seat of each match has one
account of fuel (:class:`games.simulation.SimulationFuel`) and of processor time; who finds either empty is answered
with the game's fallback action, and so is who simulates a program that fails in whatever way. When the time is up, the
simulations under way fail too, so that nested ones do not each use up a time-out of their own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from games.core import Move, Observation, Policy, PolicyFactory
from games.program_game import TrustedProgram, TrustedProgramPolicy
from games.seeds import seat_seed
from games.simulation import (
    MAX_DEPTH,
    ProgramFailedError,
    Runner,
    Simulated,
    SimulatedGame,
    SimulationFuel,
    SimulationService,
    SimulationUse,
    TrustedRunner,
)
from sandbox import wire
from sandbox.child import ForkRefused
from sandbox.episodes import RemoteSeat
from sandbox.faults import Fault, FaultKind, SandboxError, Stage
from sandbox.limits import Limits
from sandbox.lockstep import MatchRecord, Outcome, load_program
from sandbox.remote_policy import ProgramDied, SimulateBySlot
from sandbox.zygote_client import ZygoteClient

_FREE_CPU_S = 0.02
"""Of each simulation, not charged: a child's start takes some of it, more on a slow machine, and the number of
simulations is bounded anyway."""
_STACK_FRAMES = 1000 + 16 * MAX_DEPTH
_MODEST_DEPTH = 8
"""Simulations inside one another for which a machine must have processes; more are the business of who wants them."""


class TooManyProcesses(SandboxError):  # noqa: N818  a state, told to the operator where nobody is to blame for it
    """One seat of one match simulates more at once than there are processes for, and more than is modest."""


class SeatSimulations:
    """``simulate`` for one seat of all matches of a batch: call it with slot, program text and its opponent's."""

    def __init__(self, game: SimulatedGame, seat: int, seeds: Sequence[int], make_runner: Callable[[], Runner]) -> None:
        self._game = game
        self._seat = seat
        self._seeds = [seat_seed(seed, seat) for seed in seeds]
        self._make_runner = make_runner
        self.restart()

    def restart(self) -> None:
        """Fills all tanks, as at the start of new matches."""
        self._services = [SimulationService(self._game, seed, self._make_runner()) for seed in self._seeds]

    def __call__(self, slot: int, source: str, opponent_source: str) -> int:
        """Raises :class:`sandbox.remote_policy.ProgramDied` if so much is simulated that no process is left for it,
        :class:`SandboxError` if little is and yet none is left."""
        try:
            return self._services[slot].for_seat(self._seat)(source, opponent_source)
        except TooManyProcesses as refusal:
            raise ProgramDied(refused(self._seat, refusal)) from None

    @property
    def fuel(self) -> list[SimulationFuel]:
        """By slot."""
        return [service.fuel for service in self._services]


class Simulator:
    """Simulations of one batch of matches. Not thread-safe.

    Raises the interpreter's recursion limit, since simulations of :data:`MAX_DEPTH` nest on its stack.
    """

    def __init__(self, zygote: ZygoteClient, game: SimulatedGame, limits: Limits) -> None:
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _STACK_FRAMES))
        self._zygote = zygote
        self._game = game
        self._limits = limits
        self._trusted = {text: TrustedRunner([text]) for text in game.reference_programs().values()}
        self._fuel: dict[int, list[SimulationFuel]] = {}

    def seat(self, seat: int, seeds: Sequence[int]) -> SeatSimulations:
        """For an untrusted program."""
        simulations = SeatSimulations(self._game, seat, seeds, self._runner)
        self._fuel[seat] = simulations.fuel
        return simulations

    def bind(self, factory: PolicyFactory, seat: int) -> PolicyFactory:
        """A trusted player that may simulate untrusted texts; any that is no :class:`TrustedProgram` as it is."""
        if not isinstance(factory, TrustedProgram):
            return factory
        fuel = self._fuel[seat] = []

        def make(player: int, seed: int) -> Policy:
            policy = factory.with_runner(self._runner())(player, seed)
            fuel.append(policy.simulations.fuel)
            return policy if self._game.sources[1 - player] in self._trusted else _Simulating(policy, player)

        return make

    def logged(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The records of all matches, with the texts that played and what each seat simulated."""
        return [
            replace(played, program_sources=self._game.sources, simulations=self._used(slot))
            if isinstance(played, MatchRecord)
            else played
            for slot, played in enumerate(outcomes)
        ]

    def _used(self, slot: int) -> tuple[SimulationUse, ...]:
        seats = range(self._game.spec.num_players)
        return tuple(self._fuel[seat][slot].use if seat in self._fuel else SimulationUse() for seat in seats)

    def _runner(self) -> SandboxRunner:
        return SandboxRunner(self._zygote, self._game, self._limits, self._trusted)


def refused(seat: int, refusal: TooManyProcesses) -> Fault:
    """A match whose simulations need more processes than there are must not go on as if they had been run."""
    return Fault(FaultKind.KILLED, Stage.MATCH, seat, f"a simulation cannot run: {refusal}")


class _Simulating:
    """A trusted player with an untrusted opponent, which is to answer for the processes that its simulations want."""

    def __init__(self, policy: TrustedProgramPolicy, seat: int) -> None:
        self._policy = policy
        self._seat = seat

    def act(self, observation: Observation) -> Move:
        try:
            return self._policy.act(observation)
        except TooManyProcesses as refusal:
            raise ProgramDied(refused(1 - self._seat, refusal)) from None


class SandboxRunner:
    """Runs what one seat simulates in one match, on one account of processor time."""

    def __init__(
        self, zygote: ZygoteClient, game: SimulatedGame, limits: Limits, trusted: Mapping[str, TrustedRunner]
    ) -> None:
        self._zygote = zygote
        self._game = game
        self._trusted = trusted
        self._left_s = limits.simulation_cpu_s
        self._held = 0  # children that simulations under way have
        self._limits = replace(
            limits,
            load_timeout_s=min(limits.load_timeout_s, limits.move_timeout_s),
            cpu_s=limits.simulation_cpu_s,
            memory_bytes=min(limits.memory_bytes, limits.simulation_memory_bytes),
        )

    def __call__(self, program: Simulated) -> object:
        """Raises :class:`games.simulation.ProgramFailedError`, :class:`TooManyProcesses` or :class:`ForkRefused`."""
        if (trusted := self._trusted.get(program.source)) is not None:
            return trusted(program)
        self._require_time()

        def simulate(slot: int, source: str, opponent_source: str) -> int:
            action = program.simulate(source, opponent_source)
            self._require_time()
            return action

        try:
            move = self._run(program, simulate)
        except ProgramDied as death:
            self._charge(death.cpu_s, death.fault)
            raise ProgramFailedError(death.fault.detail) from None
        except ForkRefused as refusal:
            # Descriptors are the referee's own (the refusal then has the system's error as its cause).
            if self._held > _MODEST_DEPTH and refusal.__cause__ is None:
                raise TooManyProcesses(str(refusal)) from refusal
            raise
        if move is None or isinstance(move, Fault):
            raise ProgramFailedError("it reported a failure" if move is None else move.detail)
        return move

    def _require_time(self) -> None:
        if self._left_s <= 0:
            raise ProgramFailedError("no processor time is left for simulations")

    def _charge(self, cpu_s: float, outcome: object) -> None:
        """A program that had to be stopped pays for the wait, even if it slept."""
        if isinstance(outcome, Fault) and outcome.kind is FaultKind.TIMEOUT:
            cpu_s = max(cpu_s, self._limits.move_timeout_s)
        self._left_s -= max(0.0, cpu_s - _FREE_CPU_S)

    def _run(self, program: Simulated, simulate: SimulateBySlot) -> object | Fault | None:
        remote, faults = load_program(
            self._zygote, self._game, program.source, program.player, [program.seed], self._limits, "mapping", simulate
        )
        with remote, self._holding():
            seat = RemoteSeat(remote, 1, wire.action_code(self._game.spec.num_actions))
            move: object = faults.get(0)
            if move is None:
                seat.post([program.observation])
                move = seat.take()[0]
            self._charge(remote.cpu_s(), move)
        return move

    @contextlib.contextmanager
    def _holding(self) -> Iterator[None]:
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
