"""One program alone, outside a match: what it answers to given observations, and whether it works at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from games.core import Observation
from sandbox import wire
from sandbox.episodes import EpisodeBatch, RemoteSeat
from sandbox.faults import Fault, Stage
from sandbox.lockstep import unexplained
from sandbox.remote_policy import ProgramDied
from sandbox.table import Table

CHECK_SEED = 1


@dataclass(frozen=True)
class CheckResult:
    """The unit test of one program: ``outcome`` is ``ok`` or a :class:`FaultKind` value; ``wall_s`` in seconds."""

    outcome: str
    detail: str
    traceback: str
    level: int
    wall_s: float
    stage: str = ""


def smoke_test(table: Table, source: str, player: int) -> Fault | None:
    """What goes wrong while loading or at one of the game's smoke observations, which are for player 0."""
    try:
        return _smoke_test(table, source, player)
    except ProgramDied as death:
        return death.fault


def _smoke_test(table: Table, source: str, player: int) -> Fault | None:
    game = table.game
    simulate = table.simulator.seat(player, [CHECK_SEED]) if table.simulator else None
    program, faults = table.seat(source, player, [CHECK_SEED], "mapping", simulate)
    if faults or player != 0:
        return faults.get(0)
    program.set_stage(Stage.SMOKE)
    batch = EpisodeBatch(game, [CHECK_SEED])
    remote = RemoteSeat(program, 1, wire.action_code(game.spec.num_actions))
    for number, observation in enumerate(game.brief.smoke_observations):
        if simulate:
            simulate.restart()
        remote.post([observation])
        verdict = batch.judge(0, 0, remote.take()[0], observation)
        if isinstance(verdict, Fault):
            return replace(verdict, stage=Stage.SMOKE, round=number)
    return None


def moves_of_one(
    table: Table, source: str, player: int, observations: Sequence[Observation], seed: int
) -> list[object] | Fault:
    """The moves of one fresh program that is shown ``observations`` in order, distributions as they are."""
    simulate = table.simulator.seat(player, [seed]) if table.simulator else None
    program, faults = table.seat(source, player, [seed], "mapping", simulate)
    if faults:
        return faults[0]
    seat = RemoteSeat(program, 1, wire.action_code(table.game.spec.num_actions))
    moves: list[object] = []
    for observation in observations:
        seat.post([observation])
        move = seat.take()[0]
        if move is None or isinstance(move, Fault):
            return move or unexplained(player)
        moves.append(move)
    return moves
