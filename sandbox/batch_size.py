"""How many matches two programs should play together: as few as make the exchange of messages cheap.

In each round a process goes through the states of all its matches. Those of slow programs, tables mostly, soon are
more than a core's cache holds, and every state that comes back from memory costs more than the message it saves; fast
programs are worth a message only many at a time. So the first matches of a pair are played as many together as the
game says, and the next ones as few as keep messages to a small part of the time (``tests/benchmarks/bench_sandbox.py``
shows both sides of it). What is played is the same in any number.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from games.core import Game
from sandbox.lockstep import Player

_EXCHANGE_S = 8e-6
"""A message to a program and its answer, beside what the program does: two switches and the referee's share."""
_SHARE = 0.07
"""Of a batch's time for starting its processes and for messages."""
_KNOWN = 4096
"""Pairs remembered, of those played last."""


@dataclass(frozen=True)
class Spent:
    """What one batch took: seconds until all programs were loaded, seconds of play, and messages sent."""

    start_s: float
    play_s: float
    exchanges: int

    def matches_for(self, share: float, count: int) -> int:
        """How many matches like these ``count`` bring starting and messages down to ``share`` of the time they take
        themselves."""
        messages_s = self.exchanges * _EXCHANGE_S
        match_s = max((self.play_s - messages_s) / count, 1e-9)
        return math.ceil((self.start_s + messages_s) / (match_s * share))


class BatchSizes:
    """Numbers of matches to play together, learnt by pair of programs. For one referee."""

    def __init__(self) -> None:
        self._enough: OrderedDict[int, int] = OrderedDict()

    def size(self, game: Game, players: Sequence[Player], count: int) -> int:
        """Of the next batch of ``count`` matches, so that all batches are about as large: at most the game's
        ``lockstep``."""
        most = max(1, game.spec.lockstep)
        enough = min(most, self._enough.get(_pair(game, players), most))
        return math.ceil(count / max(math.ceil(count / most), round(count / enough)))

    def learn(self, game: Game, players: Sequence[Player], count: int, spent: Spent) -> None:
        """After a batch of ``count`` matches."""
        pair = _pair(game, players)
        self._enough[pair] = spent.matches_for(_SHARE, count)
        self._enough.move_to_end(pair)
        if len(self._enough) > _KNOWN:
            self._enough.popitem(last=False)


def _pair(game: Game, players: Sequence[Player]) -> int:
    """Trusted players count by their kind alone. Two pairs under one number would only be played a little slower."""
    return hash((game.spec.name, *(player if isinstance(player, str) else type(player) for player in players)))
