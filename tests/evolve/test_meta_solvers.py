from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evolve.empirical_game import EmpiricalGame
from evolve.meta_solvers import META_SOLVERS, MetaStrategy, meta_solver
from evolve.scoring import OpponentReturn
from games.core import FloatArray, Utility

NASH_FINDERS = {"nash": 1e-9, "regret_matching": 5e-3, "fictitious_play": 2e-2, "replicator_dynamics": 1e-2}
"""Exploitability that each reaches in zero-sum games, as a part of the payoff span."""

RPS = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
# Rock beats scissors by 3, paper beats rock by 1, scissors beat paper by 2: the weights are the opposite margins.
WEIGHTED_RPS = np.array([[0.0, -1, 3], [1, 0, -2], [-3, 2, 0]])
DYNAMICS = ["fictitious_play", "projected_replicator_dynamics", "regret_matching", "replicator_dynamics"]
FEW = settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(max_examples=30, deadline=None)


def names(n: int) -> tuple[str, ...]:
    return tuple(f"p{k}" for k in range(n))


def symmetric(matrix: FloatArray, utility: Utility = "zero_sum") -> EmpiricalGame:
    """One population; ``matrix[i, j]`` is the return of i against j."""
    ids = names(len(matrix))
    payoffs = {
        (a, b): (OpponentReturn(float(matrix[i, j]), 0.0, 1), OpponentReturn(float(matrix[j, i]), 0.0, 1))
        for i, a in enumerate(ids)
        for j, b in enumerate(ids)
        if utility != "zero_sum" or i != j
    }
    return EmpiricalGame(utility, True, (ids,), payoffs)


def per_player(*tensors: FloatArray, utility: Utility = "general_sum") -> EmpiricalGame:
    populations = tuple(names(n) for n in tensors[0].shape)
    payoffs = {
        tuple(populations[p][k] for p, k in enumerate(index)): tuple(
            OpponentReturn(float(t[index]), 0.0, 1) for t in tensors
        )
        for index in np.ndindex(tensors[0].shape)
    }
    return EmpiricalGame(utility, False, populations, payoffs)


def weights(strategy: MetaStrategy, player: int = 0) -> list[float]:
    return list(strategy.mixture(player).values())


def random_antisymmetric(n: int, seed: int) -> FloatArray:
    m = np.random.default_rng(seed).uniform(-1, 1, (n, n))
    return m - m.T


# -- known equilibria ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*META_SOLVERS}))
def test_rock_paper_scissors_is_uniform_for_every_solver(name: str) -> None:
    strategy = meta_solver(name)(symmetric(RPS))
    np.testing.assert_allclose(weights(strategy), 1 / 3, atol=1e-9)
    assert strategy.value == pytest.approx(0) and strategy.exploitability < 1e-9


@pytest.mark.parametrize("name", sorted(NASH_FINDERS))
def test_hand_made_three_policies(name: str) -> None:
    strategy = meta_solver(name)(symmetric(WEIGHTED_RPS))
    np.testing.assert_allclose(weights(strategy), [2 / 6, 3 / 6, 1 / 6], atol=0.05 if name != "nash" else 1e-9)
    assert strategy.exploitability <= 6 * NASH_FINDERS[name]


@pytest.mark.parametrize("name", sorted(NASH_FINDERS))
@pytest.mark.parametrize("seed", [0, 1])
def test_thirty_random_policies(name: str, seed: int) -> None:
    matrix = random_antisymmetric(30, seed)
    strategy = meta_solver(name)(symmetric(matrix))
    x = np.array(weights(strategy))
    assert float((matrix @ x).max()) == pytest.approx(strategy.exploitability, abs=1e-12)
    assert strategy.exploitability <= NASH_FINDERS[name] * np.ptp(matrix)


@pytest.mark.parametrize("name", sorted(NASH_FINDERS))
def test_two_population_zero_sum(name: str) -> None:
    """Value 1/5, reached only by (2/5, 3/5) against (2/5, 3/5) (2x2 mixed formula)."""
    matrix = np.array([[2.0, -1.0], [-1.0, 1.0]])
    strategy = meta_solver(name)(per_player(matrix, -matrix, utility="zero_sum"))
    tolerance = 1e-9 if name == "nash" else 3e-2
    np.testing.assert_allclose(weights(strategy, 0), [0.4, 0.6], atol=tolerance)
    np.testing.assert_allclose(weights(strategy, 1), [0.4, 0.6], atol=tolerance)
    np.testing.assert_allclose(strategy.values, [0.2, -0.2], atol=tolerance)


@pytest.mark.parametrize("name", sorted({*META_SOLVERS} - {"uniform"}))
def test_a_dominant_policy_gets_the_weight(name: str) -> None:
    strategy = meta_solver(name)(symmetric(np.array([[0.0, -1, -2], [1, 0, -3], [2, 3, 0]])))
    assert next(iter(strategy.support())) == "p2"
    assert weights(strategy)[2] >= (0.95 if name == "projected_replicator_dynamics" else 0.99)


@pytest.mark.parametrize("name", ["regret_matching", "fictitious_play", "replicator_dynamics", "alpha_rank"])
def test_prisoners_dilemma_ends_in_defection_in_both_forms(name: str) -> None:
    row = np.array([[3.0, 0.0], [5.0, 1.0]])
    one = meta_solver(name)(symmetric(row, "general_sum"))
    two = meta_solver(name)(per_player(row, row.T))
    for mixture in (weights(one), weights(two, 0), weights(two, 1)):
        assert mixture[1] > 0.99
    np.testing.assert_allclose(one.values, two.values, atol=1e-2)


@pytest.mark.parametrize("name", ["regret_matching", "fictitious_play", "replicator_dynamics", "alpha_rank"])
def test_three_players_find_their_strict_dominance_solution(name: str) -> None:
    payoff = np.zeros((2, 3, 2)) + np.array([0.0, 1.0])[:, None, None]
    second = np.zeros((2, 3, 2)) + np.array([0.0, 2.0, 1.0])[None, :, None]
    third = np.zeros((2, 3, 2)) + np.array([3.0, 1.0])[None, None, :]
    strategy = meta_solver(name)(per_player(payoff, second, third))
    assert [next(iter(strategy.support(p))) for p in range(3)] == ["p1", "p1", "p0"]
    np.testing.assert_allclose(strategy.values, [1, 2, 3], atol=0.05)


def test_alpha_rank_follows_the_cycle_of_better_replies() -> None:
    """p3 loses to all; the other three form a cycle: all mass is on the cycle, evenly."""
    matrix = np.pad(RPS, ((0, 1), (0, 1)), constant_values=0.0)
    matrix[:3, 3], matrix[3, :3] = 1.0, -1.0
    np.testing.assert_allclose(weights(meta_solver("alpha_rank")(symmetric(matrix))), [1 / 3] * 3 + [0], atol=1e-3)


@pytest.mark.parametrize("name", sorted({*META_SOLVERS} - {"uniform", "projected_replicator_dynamics"}))
def test_a_dominated_policy_is_not_played_at_all(name: str) -> None:
    """Not even at 1e-12: each policy with a weight costs matches."""
    matrix = np.pad(WEIGHTED_RPS, ((0, 1), (0, 1)), constant_values=0.0)
    matrix[:3, 3], matrix[3, :3] = 4.0, -4.0
    assert set(meta_solver(name)(symmetric(matrix)).support()) == {"p0", "p1", "p2"}


@given(st.integers(0, 10_000), st.integers(2, 30))
@MANY
def test_nash_leaves_no_traces_of_rounding(seed: int, n: int) -> None:
    support = meta_solver("nash")(symmetric(random_antisymmetric(n, seed))).support()
    assert min(support.values()) > 1e-9


def test_projected_replicator_keeps_a_floor() -> None:
    strategy = meta_solver("projected_replicator_dynamics")(symmetric(random_antisymmetric(10, 3)))
    assert min(weights(strategy)) >= 0.05 / 10 - 1e-12


# -- degenerate games --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*META_SOLVERS}))
def test_policies_that_are_all_equal_get_equal_weights(name: str) -> None:
    np.testing.assert_allclose(weights(meta_solver(name)(symmetric(np.zeros((5, 5))))), 0.2, atol=1e-12)


@pytest.mark.parametrize("name", sorted({*META_SOLVERS}))
def test_one_policy(name: str) -> None:
    strategy = meta_solver(name)(symmetric(np.zeros((1, 1))))
    assert weights(strategy) == [1.0] and strategy.exploitability == 0.0


def test_of_several_equilibria_nash_takes_the_most_even() -> None:
    """p0 and p1 draw and both beat p2, by different margins: not identical, yet any mixture of them is Nash."""
    strategy = meta_solver("nash")(symmetric(np.array([[0.0, 0, 1], [0, 0, 2], [-1, -2, 0]])))
    np.testing.assert_allclose(weights(strategy), [0.5, 0.5, 0.0], atol=1e-9)


@pytest.mark.slow
def test_interior_point_beyond_300_policies() -> None:
    strategy = meta_solver("nash")(symmetric(random_antisymmetric(320, 7)))
    assert strategy.exploitability <= 1e-9


# -- properties ----------------------------------------------------------------------------------------------------

square = st.integers(2, 7).flatmap(lambda n: arrays(float, (n, n), elements=st.integers(-20, 20).map(float)))


@given(square)
@MANY
def test_nash_is_never_exploitable_however_degenerate(half: FloatArray) -> None:
    strategy = meta_solver("nash")(symmetric(half - half.T))
    assert strategy.exploitability <= 1e-9 and abs(strategy.value) <= 1e-9
    assert sum(weights(strategy)) == pytest.approx(1) and min(weights(strategy)) >= 0


@given(arrays(float, (4, 6), elements=st.integers(-9, 9).map(float)))
@MANY
def test_nash_of_rectangular_games(matrix: FloatArray) -> None:
    assert meta_solver("nash")(per_player(matrix, -matrix, utility="zero_sum")).exploitability <= 1e-9


def check_that_a_copy_changes_nothing(name: str, half: FloatArray, k: int) -> None:
    matrix = half - half.T
    order = [*range(len(matrix)), k]
    plain = meta_solver(name)(symmetric(matrix))
    copied = meta_solver(name)(symmetric(matrix[np.ix_(order, order)]))
    assert copied.value == pytest.approx(plain.value, abs=1e-9)
    old, new = np.array(weights(plain)), np.array(weights(copied))
    same = np.array([np.array_equal(matrix[k], row) for row in matrix])
    np.testing.assert_allclose(new[:-1][~same], old[~same], atol=1e-6)
    np.testing.assert_allclose(np.r_[new[:-1][same], new[-1]], old[same].sum() / (same.sum() + 1), atol=1e-6)


def check_that_order_does_not_matter(name: str, half: FloatArray, order: list[int]) -> None:
    matrix = half - half.T
    plain = np.array(weights(meta_solver(name)(symmetric(matrix))))
    moved = np.array(weights(meta_solver(name)(symmetric(matrix[np.ix_(order, order)]))))
    np.testing.assert_allclose(moved, plain[order], atol=1e-6)


@pytest.mark.parametrize("name", ["nash", "alpha_rank"])
@given(half=square, data=st.data())
@MANY
def test_a_copy_changes_nothing(name: str, half: FloatArray, data: st.DataObject) -> None:
    check_that_a_copy_changes_nothing(name, half, data.draw(st.integers(0, len(half) - 1)))


@pytest.mark.parametrize("name", DYNAMICS)
@given(half=square, data=st.data())
@FEW
def test_a_copy_changes_nothing_in_the_dynamics(name: str, half: FloatArray, data: st.DataObject) -> None:
    check_that_a_copy_changes_nothing(name, half, data.draw(st.integers(0, len(half) - 1)))


@pytest.mark.parametrize("name", ["nash", "alpha_rank", "uniform"])
@given(half=square, data=st.data())
@MANY
def test_the_order_of_policies_does_not_matter(name: str, half: FloatArray, data: st.DataObject) -> None:
    check_that_order_does_not_matter(name, half, data.draw(st.permutations(range(len(half)))))


@pytest.mark.parametrize("name", DYNAMICS)
@given(half=square, data=st.data())
@FEW
def test_the_order_of_policies_does_not_matter_to_the_dynamics(
    name: str, half: FloatArray, data: st.DataObject
) -> None:
    check_that_order_does_not_matter(name, half, data.draw(st.permutations(range(len(half)))))


# -- bad input -----------------------------------------------------------------------------------------------------


def test_nash_says_what_it_does_not_solve() -> None:
    with pytest.raises(ValueError, match=r"general_sum game of 2 players: use one of .*regret_matching"):
        meta_solver("nash")(symmetric(np.zeros((2, 2)), "general_sum"))


def test_missing_payoffs_and_empty_populations_are_named() -> None:
    with pytest.raises(ValueError, match="3 profiles have no payoff yet, the first is a vs b"):
        meta_solver("nash")(EmpiricalGame("zero_sum", True, (("a", "b", "c"),)))
    with pytest.raises(ValueError, match="empty"):
        meta_solver("uniform")(EmpiricalGame("zero_sum", True, ((),)))


def test_alpha_rank_states_its_size_limit() -> None:
    big = np.zeros((70, 70)) + np.arange(70.0)
    with pytest.raises(ValueError, match="up to 4096 profiles, not 4900"):
        meta_solver("alpha_rank")(per_player(big.T, big))


def test_unknown_names_get_near_matches() -> None:
    with pytest.raises(ValueError, match="did you mean replicator_dynamics"):
        meta_solver("replicator")
    with pytest.raises(ValueError, match="choose one of nash, uniform"):
        meta_solver("zzz")
