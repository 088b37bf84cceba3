"""N matches of one game stepped together, each program in one process. The rules are all on this side.

The fast path, for two-player simultaneous games: two bytes a move each way and returns computed at once;
:mod:`sandbox.episodes` plays any other. In both, a match in which a player fails ends with that player's fault,
and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from games.core import ActionArray, ActionHistory, ActionHistoryGame, Game, PolicyFactory
from games.match import IllegalMoveError, choose_action
from games.protocols import implements
from games.seeds import sampling_rng, seat_seed
from games.simulation import SimulationUse
from sandbox import wire
from sandbox.faults import Fault, FaultKind, Stage
from sandbox.limits import Limits
from sandbox.remote_policy import Answers, RemotePolicy, SimulateBySlot
from sandbox.zygote_client import ZygoteClient

Player = str | PolicyFactory
"""Source text of an untrusted program, or a trusted factory that runs in the referee."""


@dataclass(frozen=True)
class MatchRecord:
    """One finished match: ``returns`` by seat and what was played.

    ``actions`` is a uint8 array of shape ``(num_rounds, 2)`` for action-history games, else the list of
    ``(player, action)`` in the order they were played. In games of programs, ``program_sources`` holds the texts by
    seat and ``simulations`` what each seat set going.
    """

    seed: int
    returns: tuple[float, ...]
    num_moves: int
    actions: ActionArray | list[tuple[int, int]]
    program_sources: tuple[str, ...] = ()
    simulations: tuple[SimulationUse, ...] = ()


Outcome = MatchRecord | Fault


class Sampler:
    """Turns moves into actions, drawing from each match's own generator for each seat."""

    def __init__(self, game: Game, seeds: Sequence[int]) -> None:
        self._num_actions = game.spec.num_actions
        self._seeds = seeds
        self._generators: dict[tuple[int, int], np.random.Generator] = {}

    def action(self, slot: int, seat: int, move: object, legal: Sequence[int] | None = None) -> int:
        """Raises :class:`games.match.IllegalMoveError`."""
        key = slot, seat
        if (generator := self._generators.get(key)) is None:
            generator = self._generators[key] = sampling_rng(self._seeds[slot], seat)
        return choose_action(move, self._num_actions, legal, generator)


def load_program(
    zygote: ZygoteClient,
    game: Game,
    source: str,
    seat: int,
    seeds: Sequence[int],
    limits: Limits,
    form: wire.ObservationForm,
    simulate: SimulateBySlot | None = None,
) -> tuple[RemotePolicy, dict[int, Fault]]:
    """A child with ``source`` loaded for one seat of all matches, and the slots where it could not be. ``seeds`` are
    the seat's own, one a match; ``simulate`` is what the program may call, in games of programs.

    Raises :class:`sandbox.remote_policy.ProgramDied`.
    """
    program = RemotePolicy(zygote, limits, seat, len(seeds), simulate)
    request = wire.LoadRequest(
        source=source,
        form=form,
        player=seat,
        seeds=tuple(seeds),
        num_actions=game.spec.num_actions,
        num_rounds=game.num_rounds if implements(game, ActionHistoryGame) else 0,
        output_bytes=limits.output_bytes,
        simulated_bytes=limits.source_bytes if simulate else 0,
    )
    try:
        return program, dict(program.load(request).faults)
    except BaseException:
        program.close()
        raise


def unexplained(seat: int) -> Fault:
    """For a slot that a program marks as failed without saying why: only a tampered harness does."""
    return Fault(FaultKind.KILLED, Stage.MATCH, seat, "the program's process reported a failure without a reason")


def illegal(seat: int, error: IllegalMoveError) -> Fault:
    return Fault(FaultKind.ILLEGAL_ACTION, Stage.MATCH, seat, str(error))


# --- action-history games ----------------------------------------------------------------------------------------
class ByteSeat(Protocol):
    """One player of all N matches of an action-history game. Slots that are over read ``SKIP`` in ``own``."""

    def post(self, own: bytes, opponent: bytes) -> None: ...

    def take(self) -> Answers: ...


class LocalByteSeat:
    """A trusted player: N policies in this process."""

    def __init__(
        self, factory: PolicyFactory, game: ActionHistoryGame, seat: int, seeds: Sequence[int], sampler: Sampler
    ) -> None:
        self._seat = seat
        self._policies = [factory(seat, seat_seed(seed, seat)) for seed in seeds]
        self._histories = [ActionHistory(game.num_rounds) for _ in seeds]
        self._sampler = sampler
        self._num_actions = game.spec.num_actions
        self._answers = Answers(b"")

    def post(self, own: bytes, opponent: bytes) -> None:
        actions = bytearray()
        rows = zip(self._histories, self._policies, own, opponent, strict=True)
        for slot, (history, policy, mine, theirs) in enumerate(rows):
            if mine < wire.SKIP:
                history.extend(mine, theirs)
            elif mine == wire.SKIP:
                actions.append(wire.BYTE_ACTIONS.failed)
                continue
            move = policy.act(history.observation)
            if type(move) is not int or not 0 <= move < self._num_actions:
                move = self._sampler.action(slot, self._seat, move)
            actions.append(move)
        self._answers = Answers(bytes(actions))

    def take(self) -> Answers:
        return self._answers


class RemoteByteSeat:
    """An untrusted player."""

    def __init__(self, program: RemotePolicy) -> None:
        self.post: Callable[[bytes, bytes], None] = program.post_actions
        self.take: Callable[[], Answers] = program.take


class ActionHistoryBatch:
    """N matches of a two-player simultaneous game, as bytes."""

    def __init__(self, game: ActionHistoryGame, seeds: Sequence[int]) -> None:
        self._game = game
        self._seeds = seeds
        self._faults: dict[int, Fault] = {}
        self.sampler = Sampler(game, seeds)

    def fail(self, slot: int, fault: Fault) -> None:
        """Ends one match; the first fault counts."""
        self._faults.setdefault(slot, fault)

    def play(self, seats: Sequence[ByteSeat]) -> list[Outcome]:
        """Plays all rounds. Raises :class:`sandbox.remote_policy.ProgramDied` if a whole process is lost."""
        first, second = seats
        num_rounds = self._game.num_rounds
        rounds: tuple[list[bytes], list[bytes]] = ([], [])
        own = other = bytes([wire.FIRST]) * len(self._seeds)
        for number in range(num_rounds):
            if self._faults:
                own, other = self._mask(own), self._mask(other)
                if len(self._faults) == len(self._seeds):
                    break
            first.post(own, other)
            second.post(other, own)
            moves = first.take(), second.take()
            own, other = (self._settle(seat, answers, number) for seat, answers in enumerate(moves))
            rounds[0].append(own)
            rounds[1].append(other)
        return self._outcomes(rounds)

    def _settle(self, seat: int, answers: Answers, number: int) -> bytes:
        """One seat's actions of this round; samples distributions and books faults."""
        actions = answers.actions
        if not isinstance(actions, bytes):
            raise TypeError("action-history games have byte actions")
        code = wire.BYTE_ACTIONS
        if answers.distributions:
            mutable = bytearray(actions)
            for slot, distribution in answers.distributions.items():
                try:
                    mutable[slot] = self.sampler.action(slot, seat, distribution)
                except IllegalMoveError as error:
                    mutable[slot] = code.failed
                    self.fail(slot, replace(illegal(seat, error), round=number))
            actions = bytes(mutable)
        if code.failed in actions:
            for slot, action in enumerate(actions):
                if action == code.failed and slot not in self._faults:
                    self.fail(slot, replace(answers.faults.get(slot) or unexplained(seat), round=number))
        return actions

    def _mask(self, actions: bytes) -> bytes:
        mutable = bytearray(actions)
        for slot in self._faults:
            mutable[slot] = wire.SKIP
        return bytes(mutable)

    def _outcomes(self, rounds: tuple[list[bytes], list[bytes]]) -> list[Outcome]:
        count, num_rounds = len(self._seeds), self._game.num_rounds
        live = [slot for slot in range(count) if slot not in self._faults]
        outcomes: list[Outcome] = [self._faults.get(slot, _UNPLAYED) for slot in range(count)]
        if not live:
            return outcomes
        per_seat = [np.frombuffer(b"".join(r), np.uint8).reshape(num_rounds, count).T for r in rounds]
        joint = np.stack(per_seat, axis=2)[live]
        returns = self._game.returns_from_actions(joint)
        for slot, actions, values in zip(live, joint, returns, strict=True):
            outcomes[slot] = MatchRecord(self._seeds[slot], tuple(map(float, values)), 2 * num_rounds, actions)
        return outcomes


_UNPLAYED = Fault(FaultKind.KILLED, Stage.MATCH, -1, "")
