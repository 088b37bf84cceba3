"""Exact best-response dynamics in one-shot matrix games: where PIBR would go with a perfect oracle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from games.core import FloatArray
from games.matrix import MatrixGame

_TIE = 1e-9


def best_actions(game: MatrixGame, player: int, other: FloatArray) -> list[int]:
    """All pure best responses of ``player`` to the other player's mixture."""
    returns = game.row @ other if player == 0 else other @ game.column
    return [int(action) for action in np.flatnonzero(returns >= returns.max() - _TIE)]


def reached_from(game: MatrixGame, mixtures: Sequence[Sequence[float]], steps: int) -> float | None:
    """The highest social welfare on the way of ``steps`` alternating exact best responses, player 0 first.

    ``None`` if one of them was not unique: then it depends on how ties are broken."""
    rows, columns = game.row.shape
    profile = [np.array(mixtures[0][:rows], dtype=float), np.array(mixtures[1][:columns], dtype=float)]
    best = -np.inf
    for step in range(steps):
        player = step % 2
        actions = best_actions(game, player, profile[1 - player])
        if len(actions) > 1:
            return None
        profile[player] = np.eye(len(profile[player]))[actions[0]]
        best = max(best, float(game.expected_returns(profile[0], profile[1]).sum()))
    return float(best)
