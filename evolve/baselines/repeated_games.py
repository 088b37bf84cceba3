"""What learners in repeated games share: the stage's payoffs, and the context that a player has in view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from games.core import ActionHistoryGame, Game, Observation
from games.protocols import implements

StagePayoffs = tuple[tuple[float, ...], ...]
"""``payoffs[mine][theirs]``: what one round brings to either player of a symmetric game."""

Context = tuple[int, ...]
"""The last joint actions in one player's view, own action first in each pair, oldest pair first."""


def context_of(mine: Sequence[int], theirs: Sequence[int], recall: int) -> Context:
    """The last ``recall`` joint actions, all of them where fewer were played."""
    if recall == 0:
        return ()
    return tuple(action for joint in zip(mine[-recall:], theirs[-recall:], strict=True) for action in joint)


def context_in(observation: Observation, recall: int) -> Context:
    """As :func:`context_of`, of what a player observes."""
    mine: Sequence[int] = observation["my_actions"]  # type: ignore[assignment]
    theirs: Sequence[int] = observation["opponent_actions"]  # type: ignore[assignment]
    return context_of(mine, theirs, recall)


class SelfPlay:
    """One match that a learner plays against itself, of which it remembers the last ``recall`` rounds."""

    def __init__(self, recall: int) -> None:
        self._recall = recall
        self._histories: tuple[list[int], list[int]] = [], []

    def contexts(self) -> tuple[Context, Context]:
        """The context of each seat before the next round."""
        first, second = self._histories
        return context_of(first, second, self._recall), context_of(second, first, self._recall)

    def play(self, joint: Sequence[int]) -> None:
        """A round of one action by each seat."""
        for history, action in zip(self._histories, joint, strict=True):
            history.append(action)
            del history[: -self._recall or None]


def stage_payoffs(game: Game) -> StagePayoffs | None:
    """``None`` unless ``game`` is symmetric and repeats one simultaneous stage."""
    if not implements(game, ActionHistoryGame) or not game.spec.swaps_seats:
        return None
    actions = range(game.spec.num_actions)
    single = np.array([[[[mine, theirs]] for theirs in actions] for mine in actions], dtype=np.uint8)
    returns = game.returns_from_actions(single.reshape(-1, 1, 2))[:, 0]
    return tuple(tuple(row) for row in returns.reshape(len(actions), -1).tolist())
