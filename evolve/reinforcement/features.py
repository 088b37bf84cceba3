"""How a learner reads observations: as numbers, by a function whose text goes into the program that it becomes."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from games.core import ActionHistoryGame, FeaturedGame, Game
from games.protocols import implements

Features = Callable[[Mapping[str, Any], int], list[float]]
"""``(observation, num_actions) -> numbers``, with the promises of :meth:`games.core.FeaturedGame.features`."""


def features(observation: Mapping[str, Any], num_actions: int) -> list[float]:
    """The last joint action, one number for each action of each player; all zero at first."""
    seen = [0.0] * (2 * num_actions)
    if observation["my_actions"]:
        seen[observation["my_actions"][-1]] = 1.0
        seen[num_actions + observation["opponent_actions"][-1]] = 1.0
    return seen


def features_of(game: Game) -> Features | None:
    """``None`` for games whose observations nobody turns into numbers."""
    if implements(game, FeaturedGame):
        return game.features
    return features if implements(game, ActionHistoryGame) else None


def source_of(function: Features) -> str:
    """The function's text, under the name ``features`` and without its annotations' names, for a program."""
    text = textwrap.dedent(inspect.getsource(function))
    body = text[text.index(":\n", text.index("->")) + 2 :]
    return f"def features(observation, num_actions):\n{body}".rstrip()
