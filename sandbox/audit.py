"""The replay audit: does a program play the same match again when it is alone?

N matches of a program share a process, so a program can pool what it learns about an opponent across them, and
it can read the clock and so its opponent's thinking time. Neither can be prevented at a bearable price; both
show when one logged match is replayed in a fresh process, against a script of the moves its opponents made.
An honest program, a function of its observations and its seed, repeats every move.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from games.core import Game, Move, Observation
from sandbox.faults import Fault
from sandbox.limits import Limits
from sandbox.lockstep import MatchRecord
from sandbox.referee import Referee


@dataclass(frozen=True)
class AuditResult:
    """``ok`` if every move was repeated; else ``detail`` says where the match first differs."""

    ok: bool
    detail: str
    matches: int


class ScriptEndedError(Exception):
    """The replay asked a scripted opponent for more moves than were logged: the matches have parted."""


class ScriptedPolicy:
    """Repeats the moves that one seat made in a logged match."""

    def __init__(self, moves: Iterable[int]) -> None:
        self._moves = deque(moves)

    def act(self, observation: Observation) -> Move:
        if not self._moves:
            raise ScriptEndedError
        return self._moves.popleft()


def moves_of(record: MatchRecord, seat: int) -> list[int]:
    """The actions of one seat, in order."""
    if isinstance(record.actions, np.ndarray):
        moves: list[int] = record.actions[:, seat].tolist()
        return moves
    return [action for player, action in record.actions if player == seat]


def audit(
    referee: Referee,
    game: Game,
    source: str,
    records: MatchRecord | Sequence[MatchRecord],
    seat: int,
    *,
    limits: Limits | None = None,
) -> AuditResult:
    """Replays logged matches in which ``source`` sat in ``seat``, each in a fresh process of its own.

    Stops at the first difference. A match of 1000 rounds takes some tens of milliseconds.
    """
    logged = [records] if isinstance(records, MatchRecord) else list(records)
    for number, record in enumerate(logged):
        if difference := _difference(referee, game, source, record, seat, limits):
            return AuditResult(False, f"match with seed {record.seed}: {difference}", number + 1)
    return AuditResult(True, f"{len(logged)} matches repeated move by move", len(logged))


def _difference(
    referee: Referee, game: Game, source: str, record: MatchRecord, seat: int, limits: Limits | None
) -> str:
    players: list[object] = [_Scripted(record, other) for other in range(game.spec.num_players)]
    players[seat] = source
    try:
        outcome = referee.play(game, players, seeds=[record.seed], limits=limits, strict=True)[0]
    except (ScriptEndedError, ValueError):
        return "the replay left the logged match"
    if isinstance(outcome, Fault):
        if outcome.player != seat:
            return "the replay left the logged match"
        return f"the replay failed with {outcome.kind.value}: {outcome.detail}"
    before, now = moves_of(record, seat), moves_of(outcome, seat)
    for number, (old, new) in enumerate(zip(before, now, strict=False)):
        if old != new:
            return f"move {number} was {old} and is {new} when replayed alone"
    return "" if len(before) == len(now) else f"{len(before)} moves became {len(now)}"


@dataclass(frozen=True)
class _Scripted:
    """Factory of one seat's script, which shows its opponent the text that it saw then."""

    record: MatchRecord
    seat: int

    @property
    def program_source(self) -> str:
        return self.record.program_sources[self.seat] if self.record.program_sources else ""

    def __call__(self, player: int, seed: int) -> ScriptedPolicy:
        return ScriptedPolicy(moves_of(self.record, self.seat))
