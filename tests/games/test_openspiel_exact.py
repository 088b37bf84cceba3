"""Exact values of small OpenSpiel games: Kuhn poker's are known by hand."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest

from games.core import FloatArray
from games.match import play_match
from games.openspiel_exact import SmallOpenSpielGame
from games.registry import make_game
from games.stationary import SolvableGame, StationaryGame, asker, exact_population_returns, stationary_table


@pytest.fixture(scope="module")
def kuhn() -> SmallOpenSpielGame:
    game = make_game("kuhn")
    assert isinstance(game, SmallOpenSpielGame)
    return game


def tables(game: SmallOpenSpielGame, name: str) -> list[FloatArray]:
    factory = game.reference_population()[name]
    found = [stationary_table(game, asker(factory, seat), seat) for seat in range(game.spec.num_players)]
    assert all(table is not None for table in found)
    return found  # type: ignore[return-value]


def equilibrium(game: SmallOpenSpielGame, alpha: float) -> list[FloatArray]:
    """Kuhn's equilibria by the probability of betting (action 1): player 0 bluffs with ``alpha`` in [0, 1/3]."""
    bet = (
        {"0": alpha, "1": 0.0, "2": 3 * alpha, "0pb": 0.0, "1pb": alpha + 1 / 3, "2pb": 1.0},
        {"0b": 0.0, "1b": 1 / 3, "2b": 1.0, "0p": 1 / 3, "1p": 0.0, "2p": 1.0},
    )
    points = [[str(o["text"]) for o in game.decision_points(player)] for player in (0, 1)]
    return [np.array([[1 - bet[k][text], bet[k][text]] for text in points[k]]) for k in (0, 1)]


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1 / 3])
def test_each_known_equilibrium_of_kuhn_has_its_value_and_no_exploitability(
    kuhn: SmallOpenSpielGame, alpha: float
) -> None:
    profile = equilibrium(kuhn, alpha)
    assert kuhn.stationary_returns(profile) == pytest.approx([-1 / 18, 1 / 18])
    assert kuhn.nash_conv(profile) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("name", "conv"), [("uniform", 11 / 12), ("first_legal", 2.0)])
def test_nash_conv_of_poor_policies(kuhn: SmallOpenSpielGame, name: str, conv: float) -> None:
    assert kuhn.nash_conv(tables(kuhn, name)) == pytest.approx(conv)


def test_a_mixture_plays_as_its_members_drawn_before_the_match(kuhn: SmallOpenSpielGame) -> None:
    names, weights = ("uniform", "last_legal", "first_legal"), [0.2, 0.5, 0.3]
    members = [tables(kuhn, name) for name in names]
    mixed = [kuhn.mixed(seat, [m[seat] for m in members], weights) for seat in (0, 1)]
    expected = sum(
        w * v * kuhn.stationary_returns([mine[0], theirs[1]])
        for w, mine in zip(weights, members, strict=True)
        for v, theirs in zip(weights, members, strict=True)
    )
    assert kuhn.stationary_returns(mixed) == pytest.approx(expected)
    assert all(table.sum(axis=1) == pytest.approx(np.ones(len(table))) for table in mixed)


def test_exact_returns_agree_with_matches(kuhn: SmallOpenSpielGame) -> None:
    population = kuhn.reference_population()
    exact = exact_population_returns(kuhn, lambda seat: asker(population["uniform"], seat), (1,))
    assert exact is not None
    played = [play_match(kuhn, [population["last_legal"], population["uniform"]], seed)[1] for seed in range(2000)]
    assert exact["last_legal"] == pytest.approx(np.mean(played), abs=4 * np.std(played) / 2000**0.5)


def test_seats_are_evaluated_as_asked(kuhn: SmallOpenSpielGame) -> None:
    solver = kuhn.reference_population()["cfr+"]

    def against_itself(seats: Sequence[int]) -> float:
        found = exact_population_returns(kuhn, lambda seat: asker(solver, seat), seats)
        assert found is not None
        return found["cfr+"]

    assert against_itself((0,)) == pytest.approx(-1 / 18, abs=1e-3)
    assert against_itself((1,)) == pytest.approx(1 / 18, abs=1e-3)


def test_three_players() -> None:
    game = make_game("openspiel:kuhn_poker", players=3)
    assert isinstance(game, SolvableGame)
    profile = [np.full((len(game.decision_points(player)), 2), 0.5) for player in range(3)]
    assert game.nash_conv(profile) > 0.5
    assert game.stationary_returns(profile).sum() == pytest.approx(0.0, abs=1e-12)


def test_large_and_simultaneous_games_are_sampled() -> None:
    for name in ("openspiel:leduc_poker", "openspiel:goofspiel"):
        assert not isinstance(make_game(name), StationaryGame)


def test_it_survives_pickling_with_its_exact_values(kuhn: SmallOpenSpielGame) -> None:
    copy = pickle.loads(pickle.dumps(kuhn))
    assert copy.nash_conv(tables(copy, "uniform")) == pytest.approx(11 / 12)
