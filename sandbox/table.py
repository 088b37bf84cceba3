"""One batch of matches in the children of one zygote: opens a child per untrusted seat and plays them in lockstep."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from games.core import ActionHistoryGame, Game
from games.protocols import implements
from games.seeds import seat_seed
from games.simulation import SimulatedGame
from sandbox import wire
from sandbox.action_histories import ActionHistoryBatch, ByteSeat, LocalByteSeat, RemoteByteSeat
from sandbox.episodes import EpisodeBatch, LocalSeat, RemoteSeat, Seat
from sandbox.faults import Fault
from sandbox.limits import Limits
from sandbox.lockstep import Outcome, Player, load_program
from sandbox.remote_policy import RemotePolicy, SimulateBySlot
from sandbox.simulator import Simulator
from sandbox.zygote_client import ZygoteClient


class Table:
    """Where programs of one game sit down: children of one zygote under one set of limits, until :meth:`close`.

    Raises :class:`sandbox.remote_policy.ProgramDied` when a whole process is lost.
    """

    def __init__(self, zygote: ZygoteClient, game: Game, limits: Limits) -> None:
        self.game = game
        self._zygote = zygote
        self._limits = limits
        self._stack = contextlib.ExitStack()
        self.simulator = Simulator(zygote, game, limits) if implements(game, SimulatedGame) else None

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def seat(
        self,
        source: str,
        seat: int,
        seeds: Sequence[int],
        form: wire.ObservationForm,
        simulate: SimulateBySlot | None = None,
    ) -> tuple[RemotePolicy, dict[int, Fault]]:
        """A child with ``source`` loaded in ``seat`` of one match a seed, and the slots where it could not be."""
        own = [seat_seed(seed, seat) for seed in seeds]
        program, faults = load_program(self._zygote, self.game, source, seat, own, self._limits, form, simulate)
        self._stack.enter_context(program)
        return program, faults

    def play(self, players: Sequence[Player], seeds: Sequence[int]) -> list[Outcome]:
        """One match a seed, all in lockstep."""
        game = self.game
        if implements(game, ActionHistoryGame) and game.spec.num_actions <= wire.MAX_BYTE_ACTIONS:
            return self._play_bytes(game, players, seeds)
        return self._play_episodes(players, seeds)

    def _play_bytes(self, game: ActionHistoryGame, players: Sequence[Player], seeds: Sequence[int]) -> list[Outcome]:
        batch = ActionHistoryBatch(game, seeds)
        seats: list[ByteSeat] = []
        for seat, player in enumerate(players):
            if isinstance(player, str):
                program, faults = self.seat(player, seat, seeds, "action_history")
                _fail(batch, faults)
                seats.append(RemoteByteSeat(program))
            else:
                seats.append(LocalByteSeat(player, game, seat, seeds, batch.sampler))
        return batch.play(seats)

    def _play_episodes(self, players: Sequence[Player], seeds: Sequence[int]) -> list[Outcome]:
        batch = EpisodeBatch(self.game, seeds)
        code = wire.action_code(self.game.spec.num_actions)
        simulator = self.simulator
        seats: list[Seat] = []
        for seat, player in enumerate(players):
            if isinstance(player, str):
                simulate = simulator.seat(seat, seeds) if simulator else None
                program, faults = self.seat(player, seat, seeds, "mapping", simulate)
                _fail(batch, faults)
                seats.append(RemoteSeat(program, len(seeds), code))
            else:
                seats.append(LocalSeat(simulator.bind(player, seat) if simulator else player, seat, seeds))
        outcomes = batch.play(seats)
        return simulator.logged(outcomes) if simulator else outcomes


def _fail(batch: ActionHistoryBatch | EpisodeBatch, faults: Mapping[int, Fault]) -> None:
    for slot, fault in faults.items():
        batch.fail(slot, fault)
