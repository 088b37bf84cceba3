from __future__ import annotations

import itertools

import numpy as np
import pytest

from games.match import play_match
from games.matrix import MatrixGame, bimatrix, climbing, penalty, vanilla

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("game", "welfare"),
    [
        (vanilla(), 6),
        (climbing(), 22),
        (climbing(form="standard"), 22),
        (penalty(), 20),
        (penalty(form="standard"), 20),
    ],
)
def test_best_social_welfare_is_the_papers(game: MatrixGame, welfare: float) -> None:
    assert game.spec.utility == "common_payoff"
    assert 2 * game.row.max() == welfare


@pytest.mark.parametrize(
    ("game", "equilibria"),
    [
        (vanilla(), {(0, 0), (1, 1), (2, 2)}),
        (climbing(), {(0, 0), (1, 1)}),
        (climbing(form="standard"), {(0, 0), (1, 1)}),
        (penalty(), {(0, 2), (2, 0), (1, 1)}),
        (penalty(form="standard"), {(0, 0), (2, 2), (1, 1)}),
    ],
)
def test_strict_equilibria(game: MatrixGame, equilibria: set[tuple[int, int]]) -> None:
    def strict(r: int, c: int) -> bool:
        rows, columns = np.delete(game.row[:, c], r), np.delete(game.column[r], c)
        return bool((game.row[r, c] > rows).all() and (game.column[r, c] > columns).all())

    assert {joint for joint in itertools.product(range(3), repeat=2) if strict(*joint)} == equilibria


def test_the_papers_forms_are_the_standard_ones_in_other_words() -> None:
    assert np.array_equal(climbing().row, climbing(form="standard").row.T)
    assert np.array_equal(penalty().row, penalty(form="standard").row[:, ::-1])


def test_penalty_takes_any_negative_value() -> None:
    assert penalty(penalty=-100).row.min() == -100
    for bad in (0, 1.5, "low", True, float("nan")):
        with pytest.raises(ValueError, match="penalty must be a number below 0"):
            penalty(penalty=bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="form must be 'paper' or 'standard'"):
        penalty(form="1998")


def test_expected_returns_agree_with_play() -> None:
    game = climbing()
    population = game.reference_population()
    uniform = np.full(3, 1 / 3)
    exact = game.expected_returns(uniform, uniform)
    assert exact == pytest.approx([game.row.mean()] * 2)
    played = [play_match(game, [population["uniform"]] * 2, seed)[0] for seed in range(4000)]
    assert abs(np.mean(played) - exact[0]) < 4 * np.std(played) / np.sqrt(4000)
    pure = game.expected_returns(np.eye(3)[2], np.eye(3)[1])
    assert pure.tolist() == [6, 6] == play_match(game, [population["always_2"], population["always_1"]], 0).tolist()


def test_a_repeated_game_adds_payoffs_and_shows_the_history() -> None:
    game = penalty(num_rounds=3)
    episode = game.new_episode(RNG)
    assert episode.pending()[1] == {"state": [0], "action": [], "player": 1}
    episode.step({0: 0, 1: 2})
    episode.step({0: 0, 1: 0})
    assert episode.pending()[0] == {"state": [0, 0, 0], "action": [[0, 2], [0, 0]], "player": 0}
    episode.step({0: 1, 1: 1})
    assert episode.pending() == {}
    assert episode.returns().tolist() == [10, 10]
    with pytest.raises(ValueError, match="over after 3 rounds"):
        episode.step({0: 0, 1: 0})


def test_a_player_cannot_reach_the_episode_through_its_observation() -> None:
    episode = vanilla(num_rounds=2).new_episode(RNG)
    episode.step({0: 0, 1: 1})
    seen = episode.pending()[0]
    seen["action"][0][1] = 0  # type: ignore[index]
    assert episode.pending()[1]["action"] == [[0, 1]]


def test_bimatrix_of_unequal_sides() -> None:
    game = bimatrix(row=[[1, 2, 3], [4, 5, 6]], column=[[0, 0, 1], [1, 0, 0]])
    assert game.spec.num_actions == 3
    assert game.spec.utility == "general_sum"
    assert not game.spec.symmetric
    pending = game.new_episode(RNG).pending()
    assert pending[0]["legal_actions"] == [0, 1]
    assert pending[1]["legal_actions"] == [0, 1, 2]
    with pytest.raises(ValueError, match="rows are 0 to 1"):
        game.new_episode(RNG).step({0: 2, 1: 0})


def test_utility_and_symmetry_are_read_off_the_payoffs() -> None:
    assert bimatrix().spec.utility == "zero_sum"
    dilemma = bimatrix(row=[[3, 0], [5, 1]], column=[[3, 5], [0, 1]])
    assert dilemma.spec.utility == "general_sum"
    assert dilemma.spec.symmetric
    assert vanilla().spec.symmetric
    assert not climbing().spec.symmetric


@pytest.mark.parametrize("row", [[[1, 2], [3]], "rock", [], [[]], [[float("nan")]], [1, 2], None])
def test_a_bad_matrix_says_so(row: object) -> None:
    with pytest.raises(ValueError, match="must be a matrix of"):
        bimatrix(row=row)


def test_matrices_must_agree_in_shape() -> None:
    with pytest.raises(ValueError, match="they must agree"):
        bimatrix(row=[[1, 2]], column=[[1], [2]])
