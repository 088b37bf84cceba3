"""How many matches a referee plays together, and that nothing but time depends on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from games.repeated_rps import RepeatedRPS
from games.seeds import match_seed
from sandbox.batch_size import BatchSizes, Spent
from sandbox.faults import Fault, FaultKind
from sandbox.referee import Referee

SEEDS = [match_seed(23, k) for k in range(40)]
FAST = "def policy(observation):\n    return 0\n"
SLOW = """
import time
def policy(observation):
    end = time.perf_counter() + 0.0005
    while time.perf_counter() < end:
        pass
    return len(observation["my_actions"]) % 3
"""
MORTAL = """
import os
class Policy:
    def __init__(self, player, seed):
        self.dies = seed % 5 == 0
    def act(self, observation):
        if self.dies:
            os._exit(1)
        return 1
"""


@dataclass(frozen=True)
class Together(RepeatedRPS):
    """Repeated rock-paper-scissors with at most ``most`` matches together."""

    most: int = 16

    @property
    def spec(self):
        return replace(super().spec, lockstep=self.most)


@pytest.fixture
def sizes(referee: Referee, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the batches that are played, as they come, by a referee that knows no pair yet."""
    played: list[int] = []
    play = referee._lockstep

    def noted(game, players, seeds, limits):
        played.append(len(seeds))
        return play(game, players, seeds, limits)

    monkeypatch.setattr(referee, "_lockstep", noted)
    monkeypatch.setattr(referee, "_batch_sizes", BatchSizes())
    return played


def test_messages_and_start_are_brought_down_to_their_share() -> None:
    spent = Spent(start_s=0.004, play_s=0.336, exchanges=2000)  # 16 ms of messages: 32 matches of 10 ms
    assert spent.matches_for(0.1, count=32) == 20
    assert spent.matches_for(0.05, count=32) == 40


def test_a_batch_of_nothing_but_messages_asks_for_as_many_as_there_may_be() -> None:
    assert Spent(start_s=0.004, play_s=0.0, exchanges=2000).matches_for(0.1, count=32) > 10**6


def test_slow_programs_play_fewer_together_once_they_are_known(referee: Referee, sizes: list[int]) -> None:
    referee.play(Together(num_rounds=50), [SLOW, SLOW], seeds=SEEDS)
    assert sizes[0] == 14
    assert sum(sizes) == len(SEEDS)
    assert max(sizes[1:]) < 13


def test_fast_programs_go_on_as_many_together_as_the_game_says(referee: Referee, sizes: list[int]) -> None:
    referee.play(Together(num_rounds=5), [FAST, FAST], seeds=SEEDS)
    assert sizes == [14, 13, 13]


def test_pairs_are_known_apart(referee: Referee, sizes: list[int]) -> None:
    for game, players in ((Together(50), [SLOW, SLOW]), (Together(5), [FAST, FAST]), (Together(5), [FAST, FAST])):
        referee.play(game, players, seeds=SEEDS[:16])
    assert sizes == [16, 16, 16]
    referee.play(Together(num_rounds=50), [SLOW, SLOW], seeds=SEEDS[:16])
    assert max(sizes[3:]) < 16


@pytest.mark.parametrize(("count", "size"), [(1, 1), (8, 8), (9, 9), (11, 11), (13, 7), (15, 8), (33, 9), (64, 8)])
def test_batches_are_about_as_large_as_one_another(count: int, size: int) -> None:
    known, game = BatchSizes(), Together(most=12)
    known.learn(game, [FAST, FAST], 8, Spent(0.0056, 0.08, 0))  # eight are enough
    assert known.size(game, [FAST, FAST], count) == size


def test_only_the_pairs_played_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.batch_size._KNOWN", 2)
    known, game, slow = BatchSizes(), Together(), Spent(0.001, 1.0, 100)
    for name in ("a", "b", "c"):
        known.learn(game, [name, name], 4, slow)
    assert [known.size(game, [name, name], 16) for name in ("a", "b", "c")] == [16, 1, 1]


def test_strict_matches_stay_alone(referee: Referee, sizes: list[int]) -> None:
    referee.play(Together(num_rounds=5), [FAST, FAST], seeds=SEEDS[:4], strict=True)
    assert sizes == [1, 1, 1, 1]


@pytest.mark.parametrize("most", [1, 3, 7, 40])
def test_what_each_match_comes_to_does_not_depend_on_how_many_play(referee: Referee, most: int) -> None:
    players = [MORTAL, SLOW]
    expected = referee.play(Together(num_rounds=5, most=16), players, seeds=SEEDS)
    assert {o.kind for o in expected if isinstance(o, Fault)} == {FaultKind.KILLED}
    outcomes = referee.play(Together(5, most), players, seeds=SEEDS)
    for one, other in zip(outcomes, expected, strict=True):
        assert type(one) is type(other)
        if not isinstance(one, Fault):
            np.testing.assert_array_equal(one.actions, other.actions)


def test_after_two_deaths_no_later_batch_is_tried(referee: Referee, sizes: list[int]) -> None:
    always = MORTAL.replace("seed % 5 == 0", "True")
    outcomes = referee.play(Together(num_rounds=5, most=4), [always, FAST], seeds=SEEDS)
    assert [outcome.kind for outcome in outcomes] == [FaultKind.KILLED] * len(SEEDS)
    assert sizes == [4, 1, 1]  # of which no more than that was played
