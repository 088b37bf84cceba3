"""N matches of one game stepped together, each program in one process. The rules are all on this side.

:class:`ActionHistoryBatch` is the fast path: two bytes a move each way and returns computed at once.
:class:`EpisodeBatch` plays any game through its episodes. In both, a match in which a player fails ends with that
player's fault, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from games.core import ActionArray, ActionHistory, ActionHistoryGame, Episode, Game, Observation, Policy, PolicyFactory
from games.match import IllegalMoveError, choose_action
from games.seeds import episode_rng, sampling_rng, seat_seed
from sandbox import wire
from sandbox.faults import Fault, FaultKind, Stage
from sandbox.limits import Limits
from sandbox.remote_policy import Answers, RemotePolicy
from sandbox.zygote_client import ZygoteClient

Player = str | PolicyFactory
"""Source text of an untrusted program, or a trusted factory that runs in the referee."""


@dataclass(frozen=True)
class MatchRecord:
    """One finished match: ``returns`` by seat and what was played.

    ``actions`` is a uint8 array of shape ``(num_rounds, 2)`` for action-history games, else the list of
    ``(player, action)`` in the order they were played.
    """

    seed: int
    returns: tuple[float, ...]
    num_moves: int
    actions: ActionArray | list[tuple[int, int]]


Outcome = MatchRecord | Fault
MovesBySlot = Mapping[int, object]
"""Slot -> what the player of one seat answered there: a move yet to be judged, or a fault."""


class Seat(Protocol):
    """One player of all N matches."""

    def post(self, pending: Sequence[Observation | None]) -> None:
        """Hands over the observations of the slots that are to act."""
        ...

    def take(self) -> MovesBySlot:
        """The moves of those slots."""
        ...


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


def open_program(
    zygote: ZygoteClient,
    game: Game,
    source: str,
    seat: int,
    seeds: Sequence[int],
    limits: Limits,
    form: wire.ObservationForm,
) -> tuple[RemotePolicy, dict[int, Fault]]:
    """A child with ``source`` loaded for one seat of all matches, and the slots where it could not be.

    Raises :class:`sandbox.remote_policy.ProgramDied`.
    """
    program = RemotePolicy(zygote, limits, seat, len(seeds))
    request = wire.LoadRequest(
        source=source,
        form=form,
        player=seat,
        seeds=tuple(seat_seed(seed, seat) for seed in seeds),
        num_actions=game.spec.num_actions,
        num_rounds=game.num_rounds if isinstance(game, ActionHistoryGame) else 0,
        output_bytes=limits.output_bytes,
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


# --- all other games ---------------------------------------------------------------------------------------------
class LocalSeat:
    """A trusted player: N policies in this process."""

    def __init__(self, factory: PolicyFactory, seat: int, seeds: Sequence[int]) -> None:
        self._policies: list[Policy] = [factory(seat, seat_seed(seed, seat)) for seed in seeds]
        self._moves: dict[int, object] = {}

    def post(self, pending: Sequence[Observation | None]) -> None:
        policies = self._policies
        self._moves = {slot: policies[slot].act(seen) for slot, seen in enumerate(pending) if seen is not None}

    def take(self) -> MovesBySlot:
        return self._moves


class RemoteSeat:
    """An untrusted player, sent what changed in its observations."""

    def __init__(self, program: RemotePolicy, count: int, code: wire.ActionCode) -> None:
        self._program = program
        self._encoders = [wire.ObservationEncoder() for _ in range(count)]
        self._code = code
        self._asked: list[int] = []

    def post(self, pending: Sequence[Observation | None]) -> None:
        self._asked = [slot for slot, seen in enumerate(pending) if seen is not None]
        rows = zip(self._encoders, pending, strict=True)
        self._program.post_observations([None if seen is None else encoder.encode(seen) for encoder, seen in rows])

    def take(self) -> MovesBySlot:
        answers = self._program.take()
        moves: dict[int, object] = {}
        for slot in self._asked:
            action = answers.actions[slot]
            if action == self._code.failed:
                moves[slot] = answers.faults.get(slot)
            elif action == self._code.distribution:
                moves[slot] = answers.distributions[slot]
            else:
                moves[slot] = action
        return moves


class EpisodeBatch:
    """N episodes of any game."""

    def __init__(self, game: Game, seeds: Sequence[int]) -> None:
        self._game = game
        self._seeds = seeds
        self._faults: dict[int, Fault] = {}
        self._sampler = Sampler(game, seeds)
        self._log: list[list[tuple[int, int]]] = [[] for _ in seeds]

    def fail(self, slot: int, fault: Fault) -> None:
        """Ends one match; the first fault counts."""
        moves = sum(player == fault.player for player, _ in self._log[slot])
        self._faults.setdefault(slot, replace(fault, round=moves))

    def play(self, seats: Sequence[Seat]) -> list[Outcome]:
        """Plays all episodes. Raises :class:`sandbox.remote_policy.ProgramDied` if a whole process is lost."""
        episodes = [self._game.new_episode(episode_rng(seed)) for seed in self._seeds]
        while True:
            pending = [{} if slot in self._faults else e.pending() for slot, e in enumerate(episodes)]
            acting = [seat for seat in range(len(seats)) if any(seat in waiting for waiting in pending)]
            if not acting:
                break
            for seat in acting:
                seats[seat].post([waiting.get(seat) for waiting in pending])
            chosen: list[dict[int, int]] = [{} for _ in episodes]
            for seat in acting:
                for slot, move in seats[seat].take().items():
                    self._choose(slot, seat, move, pending[slot][seat], chosen[slot])
            self._advance(episodes, chosen)
        return [self._faults.get(slot) or self._record(slot, episode) for slot, episode in enumerate(episodes)]

    def _choose(self, slot: int, seat: int, move: object, seen: Observation, chosen: dict[int, int]) -> None:
        action = self.judge(slot, seat, move, seen)
        if isinstance(action, Fault):
            self.fail(slot, action)
        else:
            chosen[seat] = action

    def judge(self, slot: int, seat: int, move: object, seen: Observation) -> int | Fault:
        """The action that ``move`` stands for, or why there is none."""
        if move is None or isinstance(move, Fault):
            return move or unexplained(seat)
        legal: Sequence[int] | None = seen.get("legal_actions")  # type: ignore[assignment]
        try:
            return self._sampler.action(slot, seat, move, legal)
        except IllegalMoveError as error:
            return illegal(seat, error)

    def _advance(self, episodes: Sequence[Episode], chosen: Sequence[dict[int, int]]) -> None:
        for slot, (episode, actions) in enumerate(zip(episodes, chosen, strict=True)):
            if actions and slot not in self._faults:
                episode.step(actions)
                self._log[slot] += sorted(actions.items())

    def _record(self, slot: int, episode: Episode) -> MatchRecord:
        log = self._log[slot]
        return MatchRecord(self._seeds[slot], tuple(map(float, episode.returns())), len(log), log)
