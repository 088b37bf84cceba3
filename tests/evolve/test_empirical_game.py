from __future__ import annotations

import json
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from evolve.empirical_game import EmpiricalGame, pooled
from evolve.scoring import OpponentReturn
from games.core import GameSpec


def estimate(sample: np.ndarray) -> OpponentReturn:
    return OpponentReturn(float(sample.mean()), float(sample.std(ddof=1) / np.sqrt(len(sample))), len(sample))


def rps() -> EmpiricalGame:
    game = EmpiricalGame("zero_sum", True, (("r", "p", "s"),))
    for pair, mean in {("r", "p"): -1.0, ("r", "s"): 1.0, ("p", "s"): -1.0}.items():
        game = game.with_payoff(pair, OpponentReturn(mean, 0.1, 10))
    return game


def test_symmetric_zero_sum_is_antisymmetric_with_zero_diagonal() -> None:
    game = rps()
    np.testing.assert_array_equal(game.payoff_matrix(), [[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    np.testing.assert_array_equal(game.payoff_matrix(1), game.payoff_matrix().T)
    np.testing.assert_array_equal(game.stderr_matrix(), 0.1 * (1 - np.eye(3)))
    np.testing.assert_array_equal(game.matches_matrix(), 10 * (1 - np.eye(3)))
    assert game.missing() == []
    assert game.payoff(("p", "r")).mean == 1.0 and game.payoff(("p", "p")).mean == 0.0


def test_only_the_new_policys_pairs_are_missing() -> None:
    game = rps().with_policy("new")
    assert game.missing() == [("r", "new"), ("p", "new"), ("s", "new")]
    assert np.isnan(game.payoff_matrix()[0, 3]) and game.payoff_matrix()[3, 3] == 0
    assert game.with_payoff(("new", "r"), OpponentReturn(2.0, 0.0, 4)).payoff(("r", "new")).mean == -2.0
    assert rps().missing() == []


def test_symmetric_general_sum_plays_the_diagonal() -> None:
    game = EmpiricalGame("general_sum", True, (("c", "d"),))
    assert game.missing() == [("c", "c"), ("c", "d"), ("d", "d")]
    for pair, (a, b) in {("c", "c"): (3, 3), ("c", "d"): (0, 5), ("d", "d"): (1, 1)}.items():
        game = game.with_payoff(pair, OpponentReturn(a, 0, 1), OpponentReturn(b, 0, 1))
    np.testing.assert_array_equal(game.payoff_matrix(), [[3, 0], [5, 1]])
    np.testing.assert_array_equal(game.payoff_matrix(1), [[3, 5], [0, 1]])


def test_three_players_have_a_tensor_each() -> None:
    game = EmpiricalGame("general_sum", False, (("a",), ("b", "c"), ("d",)))
    assert game.missing() == [("a", "b", "d"), ("a", "c", "d")]
    game = game.with_payoff(("a", "c", "d"), *(OpponentReturn(float(k), 0.0, 1) for k in range(3)))
    assert game.payoff_matrix(2).shape == (1, 2, 1) and game.payoff_matrix(2)[0, 1, 0] == 2.0


def test_one_return_fixes_the_others_where_utility_says_so() -> None:
    r = OpponentReturn(2.5, 0.5, 7)
    zero_sum = EmpiricalGame("zero_sum", False, (("a",), ("b",))).with_payoff(("a", "b"), r)
    common = EmpiricalGame("common_payoff", False, (("a",), ("b",), ("c",))).with_payoff(("a", "b", "c"), r)
    assert zero_sum.payoff(("a", "b"), 1) == replace(r, mean=-2.5)
    assert common.payoff(("a", "b", "c"), 2) == r
    with pytest.raises(ValueError, match="1 returns"):
        EmpiricalGame("general_sum", False, (("a",), ("b",))).with_payoff(("a", "b"), r)


def test_bad_input() -> None:
    with pytest.raises(KeyError, match="program x is not in the population of player 1"):
        rps().with_payoff(("r", "x"), OpponentReturn(0, 0, 1))
    with pytest.raises(ValueError, match="itself is 0"):
        rps().with_payoff(("r", "r"), OpponentReturn(0, 0, 1))
    with pytest.raises(ValueError, match="once"):
        rps().with_policy("r")
    with pytest.raises(ValueError, match="one population"):
        EmpiricalGame("zero_sum", True, (("a",), ("b",)))
    with pytest.raises(ValueError, match="unknown utility"):
        EmpiricalGame("zerosum", True, (("a",),))  # type: ignore[arg-type]


def test_of_spec() -> None:
    spec = GameSpec("g", 2, 3, symmetric=True, utility="zero_sum", return_range=(-1, 1))
    assert EmpiricalGame.of(spec, [["a"]]).antisymmetric
    three = replace(spec, num_players=3, utility="general_sum")
    assert EmpiricalGame.of(three, [["a"], ["a"], ["a"]]).num_players == 3
    with pytest.raises(ValueError, match="3 players, not 2"):
        EmpiricalGame.of(three, [["a"], ["a"]])


def test_pooling_equals_one_estimate_from_all_matches() -> None:
    sample = np.random.default_rng(1).normal(3.0, 20.0, 57)
    both = pooled(estimate(sample[:20]), estimate(sample[20:]))
    assert both.matches == 57
    np.testing.assert_allclose([both.mean, both.stderr], [estimate(sample).mean, estimate(sample).stderr])
    one = OpponentReturn(float(sample[0]), 0.0, 1)
    np.testing.assert_allclose(pooled(one, estimate(sample[1:])).stderr, estimate(sample).stderr)


def test_top_up_keeps_antisymmetry() -> None:
    game = rps().with_more_matches(("p", "r"), OpponentReturn(0.0, 0.1, 30))
    assert game.payoff(("p", "r")).mean == 0.25 and game.payoff(("r", "p")).mean == -0.25
    assert game.payoff(("r", "p")).matches == 40


def test_payoff_classes_find_copies() -> None:
    game = rps().with_policy("rock again")
    for opponent, mean in {"r": 0.0, "p": -1.0, "s": 1.0}.items():
        game = game.with_payoff(("rock again", opponent), OpponentReturn(mean, 0.1, 3))
    assert game.payoff_classes() == [[0, 3], [1], [2]]
    one_row_less = EmpiricalGame("zero_sum", False, (("a", "b"), ("c", "d")))
    for profile, mean in {("a", "c"): 1, ("a", "d"): 2, ("b", "c"): 1, ("b", "d"): 2}.items():
        one_row_less = one_row_less.with_payoff(profile, OpponentReturn(mean, 0, 1))
    assert one_row_less.payoff_classes(0) == [[0, 1]] and one_row_less.payoff_classes(1) == [[0], [1]]


def test_record_survives_msgpack_with_forfeits() -> None:
    game = rps().with_policy("new").with_payoff(("new", "s"), OpponentReturn(0.5, 0.25, 4, forfeits=2))
    again = EmpiricalGame.from_record(msgpack.unpackb(msgpack.packb(game.to_record())))
    assert again == game and again.payoff(("s", "new")).forfeits == 2
    with pytest.raises(ValueError, match="not an empirical game"):
        EmpiricalGame.from_record({"utility": "zero_sum"})


def test_json_has_null_where_nothing_was_played() -> None:
    shown = json.loads(json.dumps(rps().with_policy("new").to_json(), allow_nan=False))
    assert shown["ids"] == ["r", "p", "s", "new"] and shown["mean"][0] == [0, -1, 1, None]
    assert shown["n"][3] == [0, 0, 0, 0] and shown["stderr"][0][1] == 0.1
    two = EmpiricalGame("zero_sum", False, (("a",), ("b",))).with_payoff(("a", "b"), OpponentReturn(2, 1, 5))
    shown = json.loads(json.dumps(two.to_json(), allow_nan=False))
    assert shown["ids"] == [["a"], ["b"]] and shown["mean"] == [[[2]], [[-2]]] and shown["n"] == [[[5]], [[5]]]
