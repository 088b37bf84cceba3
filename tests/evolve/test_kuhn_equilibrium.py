"""Kuhn poker as an empirical game of all its pure strategies: every solver that should find its equilibrium does."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest

from evolve.empirical_game import EmpiricalGame
from evolve.meta_solvers import meta_solver
from evolve.scoring import OpponentReturn
from games.core import FloatArray
from games.openspiel_exact import SmallOpenSpielGame
from games.registry import make_game

VALUE = -1 / 18


def pure_strategies(game: SmallOpenSpielGame, player: int) -> list[FloatArray]:
    """Tables of all pure strategies; what player 0 would do after a bet of its own does not occur and is left out."""
    texts = [str(point["text"]) for point in game.decision_points(player)]
    found = {}
    for actions in product((0, 1), repeat=len(texts)):
        chosen = dict(zip(texts, actions, strict=True))
        # A card that is bet at once has no second decision.
        key = tuple(0 if len(text) == 3 and chosen[text[0]] == 1 else action for text, action in chosen.items())
        found[key] = np.eye(2)[list(key)]
    return list(found.values())


@cache
def kuhn() -> EmpiricalGame:
    game = make_game("kuhn")
    assert isinstance(game, SmallOpenSpielGame)
    rows, columns = (pure_strategies(game, player) for player in (0, 1))
    assert (len(rows), len(columns)) == (27, 64)
    made = EmpiricalGame(
        "zero_sum", False, (tuple(f"r{i}" for i in range(len(rows))), tuple(f"c{j}" for j in range(len(columns))))
    )
    payoffs = {
        (f"r{i}", f"c{j}"): (OpponentReturn(value, 0.0, 0), OpponentReturn(-value, 0.0, 0))
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
        for value in [float(game.stationary_returns([row, column])[0])]
    }
    return EmpiricalGame(made.utility, made.symmetric, made.populations, payoffs)


@pytest.mark.parametrize(
    ("name", "within"),
    [("nash", 1e-9), ("regret_matching", 2e-3), ("fictitious_play", 2e-2), ("replicator_dynamics", 2e-2)],
)
def test_the_value_of_kuhn_poker_is_found(name: str, within: float) -> None:
    solution = meta_solver(name)(kuhn())
    assert solution.value == pytest.approx(VALUE, abs=within)
    assert solution.exploitability < within
