"""N matches of a two-player simultaneous game, as bytes: the fast path of :mod:`sandbox.lockstep`.

Two bytes a move each way, and returns computed at once. Rounds in which both seats are programs that answer plainly are
played by :mod:`sandbox.plain_rounds`, all others here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from games.core import ActionHistory, ActionHistoryGame, PolicyFactory
from games.match import IllegalMoveError
from games.seeds import seat_seed
from sandbox import wire
from sandbox.answers import Answers
from sandbox.faults import Fault, FaultKind, Stage
from sandbox.lockstep import MatchRecord, Outcome, Sampler, illegal, unexplained
from sandbox.plain_rounds import PlainRounds, library
from sandbox.remote_policy import RemotePolicy

_ENOUGH_IN_VAIN = 8
"""Rounds one after the other that were not plain: these programs answer otherwise, with distributions say."""


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
        self.program = program
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
        plainly = self._plainly(seats)
        num_rounds = self._game.num_rounds
        rounds: tuple[list[bytes], list[bytes]] = ([], [])
        own = other = bytes([wire.FIRST]) * len(self._seeds)
        number = in_vain = 0
        while number < num_rounds:
            if self._faults:
                own, other = self._mask(own), self._mask(other)
                if len(self._faults) == len(self._seeds):
                    break
            if plainly is None or self._faults or in_vain == _ENOUGH_IN_VAIN:
                first.post(own, other)
                second.post(other, own)
            else:
                played = plainly.play(own, other, num_rounds - number)
                if played.rounds:
                    number += played.rounds
                    rounds[0].append(played.own)
                    rounds[1].append(played.other)
                    own, other = played.last
                if not played.is_open:
                    continue
                in_vain = 0 if played.rounds else in_vain + 1
            moves = first.take(), second.take()
            own, other = (self._settle(seat, answers, number) for seat, answers in enumerate(moves))
            rounds[0].append(own)
            rounds[1].append(other)
            number += 1
        return self._outcomes(rounds)

    def _plainly(self, seats: Sequence[ByteSeat]) -> PlainRounds | None:
        """For two programs, where csro has its compiled part."""
        programs = [seat.program for seat in seats if isinstance(seat, RemoteByteSeat)]
        compiled = library()
        if len(programs) < len(seats) or compiled is None:
            return None
        return PlainRounds(compiled, programs, self._game.spec.num_actions)

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
