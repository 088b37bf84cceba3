"""Which entries of the empirical game get more matches."""

from __future__ import annotations

import pytest

from evolve.empirical_game import EmpiricalGame
from evolve.meta_solvers import nash, regret_matching
from evolve.scoring import OpponentReturn
from evolve.top_up import due_profiles


def game(entries: dict[tuple[str, str], tuple[float, float]]) -> EmpiricalGame:
    ids = tuple(dict.fromkeys(i for pair in entries for i in pair))
    made = EmpiricalGame("zero_sum", True, (ids,))
    for pair, (mean, stderr) in entries.items():
        made = made.with_payoff(pair, OpponentReturn(mean, stderr, 4))
    return made


def test_a_clear_loser_is_left_alone() -> None:
    made = game({("a", "b"): (5.0, 1.0), ("a", "c"): (1.0, 1.0), ("b", "c"): (-5.0, 1.0)})
    solution = nash(made)
    assert solution.support() == {"a": 1.0}
    assert due_profiles(made, solution) == [("a", "c")]


def test_the_worst_known_comes_first() -> None:
    made = game({("a", "b"): (0.5, 0.4), ("a", "c"): (0.5, 0.9), ("b", "c"): (0.0, 0.1)})
    assert due_profiles(made, nash(made)) == [("a", "c"), ("a", "b")]


def test_nothing_is_due_without_noise() -> None:
    made = game({("a", "b"): (-1.0, 0.0), ("a", "c"): (1.0, 0.0), ("b", "c"): (-1.0, 0.0)})
    assert due_profiles(made, nash(made)) == []


def test_the_support_of_a_cycle_is_due() -> None:
    made = game({("a", "b"): (-1.0, 0.2), ("a", "c"): (1.0, 0.2), ("b", "c"): (-1.0, 0.2)})
    assert set(due_profiles(made, nash(made))) == {("a", "b"), ("a", "c"), ("b", "c")}


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_three_players(noise: float) -> None:
    made = EmpiricalGame("general_sum", False, (("a", "b"), ("c",), ("d",)))
    for first, mean in (("a", 1.0), ("b", 0.0)):
        returns = OpponentReturn(mean, noise, 4)
        made = made.with_payoff((first, "c", "d"), returns, returns, returns)
    due = due_profiles(made, regret_matching(made))
    assert sorted(due) == ([("a", "c", "d"), ("b", "c", "d")] if noise else [])
