"""N matches of any game stepped together through its episodes. See :mod:`sandbox.lockstep`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from games.core import Episode, Game, Observation, Policy, PolicyFactory
from games.match import IllegalMoveError
from games.seeds import episode_rng, seat_seed
from sandbox import wire
from sandbox.faults import Fault
from sandbox.lockstep import MatchRecord, Outcome, Sampler, illegal, unexplained
from sandbox.remote_policy import RemotePolicy

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
