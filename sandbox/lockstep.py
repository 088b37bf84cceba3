"""What N matches stepped together have in common, whatever the game: records, sampled moves, loaded programs.

:mod:`sandbox.action_histories` plays two-player simultaneous games, :mod:`sandbox.episodes` any other. In both, each
program is in one process and the rules are all on this side; a match in which a player fails ends with that player's
fault, and the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from games.core import ActionArray, ActionHistoryGame, Game, PolicyFactory
from games.match import IllegalMoveError, choose_action
from games.protocols import implements
from games.seeds import sampling_rng
from games.simulation import SimulationUse
from sandbox import wire
from sandbox.faults import Fault, FaultKind, Stage
from sandbox.limits import Limits
from sandbox.remote_policy import RemotePolicy, SimulateBySlot
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
