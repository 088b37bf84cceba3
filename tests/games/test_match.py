from __future__ import annotations

import numpy as np
import pytest

from games.core import Move, Observation
from games.match import IllegalMoveError, choose_action, move_distribution, play_match, record_match
from games.repeated_rps import RepeatedRPS
from games.seeds import seat_seed


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


class Fixed:
    def __init__(self, move: Move) -> None:
        self.move = move

    def act(self, observation: Observation) -> Move:
        return self.move


@pytest.mark.parametrize(
    "move", [2, np.int64(2), [0.0, 0.0, 1.0], (0, 0, 1), np.array([0.0, 0.0, 1.0]), [0, 0, np.float64(1)]]
)
def test_legal_moves(move: object) -> None:
    assert choose_action(move, 3, None, rng()) == 2


@pytest.mark.parametrize(
    ("move", "message"),
    [
        (3, "action 3 is illegal here; legal are 0, 1, 2"),
        (-1, "action -1"),
        (True, "not bool"),
        (1.0, "not float"),
        ("1", "not str"),
        (None, "not NoneType"),
        ([1.0], "1 probabilities for 3 actions"),
        ([0.5, 0.5, 0.5], "add to 1.5"),
        ([1.5, -0.5, 0.0], "between 0 and 1"),
        ([float("nan"), 0.5, 0.5], "between 0 and 1"),
        ([0.0, 0.0, 0.0], "add to 0"),
        (["a", 0, 1], "a probability is a float"),
        ({0: 1.0}, "not dict"),
    ],
)
def test_illegal_moves_say_why(move: object, message: str) -> None:
    with pytest.raises(IllegalMoveError, match=message):
        choose_action(move, 3, None, rng())


def test_legal_actions_bind_actions_and_distributions() -> None:
    assert choose_action([0.0, 1.0, 0.0], 3, [1, 2], rng()) == 1
    with pytest.raises(IllegalMoveError, match="legal are 1, 2"):
        choose_action(0, 3, [1, 2], rng())
    with pytest.raises(IllegalMoveError, match="probability on an illegal action"):
        choose_action([0.1, 0.9, 0.0], 3, [1, 2], rng())


def test_a_move_as_a_distribution() -> None:
    assert move_distribution(1, 3, None) == [0.0, 1.0, 0.0] == move_distribution(np.int64(1), 3, [1])
    assert move_distribution([0.5, 0.5, 0], 3, [0, 1]) == [0.5, 0.5, 0.0]
    with pytest.raises(IllegalMoveError, match="action 2"):
        move_distribution(2, 3, [0, 1])


def test_a_distribution_is_sampled_in_its_proportions() -> None:
    generator = rng()
    drawn = np.bincount([choose_action([0.2, 0.0, 0.8], 3, None, generator) for _ in range(5000)], minlength=3)
    assert drawn[1] == 0
    assert abs(drawn[0] / 5000 - 0.2) < 4 * np.sqrt(0.16 / 5000)


def test_a_seed_decides_the_match() -> None:
    game = RepeatedRPS(50)

    def mixed(player: int, seed: int) -> Fixed:
        return Fixed([0.5, 0.25, 0.25])

    logs = [record_match(game, [mixed, mixed], seed) for seed in (1, 1, 2)]
    assert logs[0].actions == logs[1].actions != logs[2].actions


def test_one_players_mixing_does_not_shift_the_others_draws() -> None:
    game = RepeatedRPS(50)

    def mixed(player: int, seed: int) -> Fixed:
        return Fixed([0.5, 0.25, 0.25])

    def pure(player: int, seed: int) -> Fixed:
        return Fixed(0)

    against = [record_match(game, [mixed, other], 3) for other in (mixed, pure)]
    assert [a[0] for a in against[0].actions] == [a[0] for a in against[1].actions]


def test_policies_are_built_with_their_seat_and_its_seed() -> None:
    built: list[tuple[int, int]] = []

    def factory(player: int, seed: int) -> Fixed:
        built.append((player, seed))
        return Fixed(0)

    play_match(RepeatedRPS(1), [factory, factory], 9)
    assert built == [(0, seat_seed(9, 0)), (1, seat_seed(9, 1))]


def test_the_number_of_factories_must_fit() -> None:
    with pytest.raises(ValueError, match="repeated_rps has 2 players, not 1"):
        play_match(RepeatedRPS(1), [lambda player, seed: Fixed(0)], 0)
