from __future__ import annotations

import os

import numpy as np
import pytest

from games.foraging import TASKS
from games.foraging_core import (
    EAST,
    LOAD,
    NONE,
    NORTH,
    NUM_ACTIONS,
    SOUTH,
    WEST,
    ForagingBoard,
    ForagingTask,
    crowded,
    interior,
)
from games.foraging_reference import OriginalBoard

PAIR = ForagingTask(5, 2, 2, cooperative=True)
TRIO = ForagingTask(5, 3, 2, cooperative=False)


def board(task: ForagingTask, cells: list[tuple[int, int]], foods: dict[tuple[int, int], int]) -> ForagingBoard:
    """Players of levels 1, 2, 1 at ``cells``."""
    positions = [row * task.size + column for row, column in cells]
    levels = [1, 2, 1][: len(cells)]
    return ForagingBoard(task, positions, levels, {r * task.size + c: level for (r, c), level in foods.items()})


def cells(played: ForagingBoard) -> list[tuple[int, int]]:
    return [divmod(cell, played.task.size) for cell in played.positions]


# --- against the original --------------------------------------------------------------------------------------------
def some_actions(played: ForagingBoard, rng: np.random.Generator, goal: int) -> list[int]:
    """Mostly towards one food and loading beside it, so that much is taken; else anything."""
    size = played.task.size
    target = sorted(played.foods)[goal % len(played.foods)]
    actions = []
    for cell in played.positions:
        down, right = target // size - cell // size, target % size - cell % size
        sensible = [a for a, way in ((SOUTH, down > 0), (NORTH, down < 0), (EAST, right > 0), (WEST, right < 0)) if way]
        if abs(down) + abs(right) == 1:
            sensible = [LOAD]
        anything = rng.random() < 0.3 or not sensible
        actions.append(int(rng.integers(NUM_ACTIONS) if anything else rng.choice(sensible)))
    return actions


def compare(task: ForagingTask, seed: int) -> tuple[int, int]:
    """Plays one episode on both; the number of steps, and of foods taken."""
    core = ForagingBoard.spawn(task, np.random.default_rng(seed))
    original = OriginalBoard(task, np.random.default_rng(seed))
    rng = np.random.default_rng([seed, 1])
    foods = len(core.foods)
    assert core.observe() == original.observe()
    while not core.over:
        actions = some_actions(core, rng, goal=seed) if seed % 3 else rng.integers(NUM_ACTIONS, size=9).tolist()
        actions = actions[: task.num_players]
        assert core.step(actions) == original.step(actions)
        assert core.observe() == original.observe()
        assert core.over == original.over
    return core.steps, foods - len(core.foods)


@pytest.mark.parametrize(("name", "episodes"), [*zip(TASKS, (200, 150, 100, 60), strict=True)])
def test_the_core_is_the_original_to_the_last_bit(name: str, episodes: int) -> None:
    results = [compare(ForagingTask.parse(name), seed) for seed in range(episodes)]
    assert sum(steps for steps, _ in results) > 5 * episodes
    assert sum(taken for _, taken in results) > episodes // 2


MANY = (
    *zip(TASKS, (100, 50, 25, 12), strict=True),
    ("6x6-3p-4f-coop", 20),
    ("7x7-5p-3f", 20),
    ("19x19-9p-9f-coop", 4),
)
TIMES = int(os.environ.get("CSRO_DRILL_EPISODES", "1"))
"""How much longer the drill is: 8 for some thousand episodes, in half a minute."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "episodes"), MANY)
def test_the_core_is_the_original_over_many_more_episodes(name: str, episodes: int) -> None:
    results = [compare(ForagingTask.parse(name), seed) for seed in range(10_000, 10_000 + TIMES * episodes)]
    assert sum(taken for _, taken in results) > len(results) // 3


def test_other_lengths_of_episode_end_at_the_same_step() -> None:
    assert compare(ForagingTask(8, 2, 2, True, max_steps=7), seed=0)[0] == 7
    assert compare(ForagingTask(8, 2, 2, True), seed=0)[0] == 50


# --- the rules, one by one -------------------------------------------------------------------------------------------
def test_players_may_swap_and_follow() -> None:
    played = board(PAIR, [(0, 0), (0, 1)], {(3, 3): 3})
    played.step([EAST, WEST])
    assert cells(played) == [(0, 1), (0, 0)]
    played.step([EAST, EAST])
    assert cells(played) == [(0, 2), (0, 1)]


def test_players_who_choose_one_cell_stay() -> None:
    played = board(PAIR, [(0, 0), (0, 2)], {(3, 3): 3})
    played.step([EAST, WEST])
    assert cells(played) == [(0, 0), (0, 2)]
    played.step([EAST, NONE])
    played.step([EAST, NONE])
    assert cells(played) == [(0, 1), (0, 2)]


def test_a_third_player_may_enter_the_cell_of_one_whose_move_fails() -> None:
    played = board(TRIO, [(0, 0), (0, 1), (0, 3)], {(3, 3): 3})
    played.step([EAST, EAST, WEST])
    assert cells(played) == [(0, 1), (0, 1), (0, 3)]


def test_impossible_actions_do_nothing() -> None:
    played = board(PAIR, [(0, 0), (3, 2)], {(3, 3): 3})
    assert played.step([NORTH, EAST]) == [0.0, 0.0]
    assert played.step([LOAD, NONE]) == [0.0, 0.0]
    assert cells(played) == [(0, 0), (3, 2)]


def test_loading_together_shares_by_level_and_an_emptied_board_gives_one() -> None:
    played = board(PAIR, [(1, 0), (0, 1)], {(1, 1): 3, (3, 3): 1})
    assert played.step([LOAD, NONE]) == [0.0, 0.0]
    assert played.step([LOAD, LOAD]) == pytest.approx([0.75 / 3, 0.75 * 2 / 3])
    assert played.observe()[:6] == [3, 3, 1, -1, -1, 0]
    rest = board(PAIR, [(3, 2), (0, 1)], {(3, 3): 1})
    assert rest.step([LOAD, NONE]) == [1.0, 0.0]
    assert rest.over


# --- boards ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", TASKS)
def test_boards_are_legal(name: str) -> None:
    task = ForagingTask.parse(name)
    counts = set()
    for seed in range(200):
        made = ForagingBoard.spawn(task, np.random.default_rng(seed))
        counts.add(len(made.foods))
        assert len(set(made.positions)) == task.num_players
        assert not set(made.foods) & set(made.positions)
        assert set(made.foods) <= interior(task.size)
        assert all(crowded(task.size, food) & set(made.foods) == {food} for food in made.foods)
        if task.cooperative:
            assert set(made.foods.values()) == {sum(sorted(made.levels)[:3])}
    assert max(counts) == task.num_foods
    assert (min(counts) < task.num_foods) == (task.size == 5)


def test_names() -> None:
    assert [ForagingTask.parse(name).name for name in TASKS] == list(TASKS)
    assert ForagingTask.parse("6x6-2p-1f-coop") == ForagingTask(6, 2, 1, True)


@pytest.mark.parametrize("name", ["", "5x6-2p-2f", "5x5-2p", "Foraging-2s-5x5-2p-2f-v3", "5x5-2p-2f-coop-v2"])
def test_other_names_are_told(name: str) -> None:
    with pytest.raises(ValueError, match="named like 5x5-2p-2f-coop"):
        ForagingTask.parse(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [("20x20-2p-2f", "size"), ("5x5-1p-2f", "num_players"), ("5x5-2p-0f", "num_foods"), ("3x3-2p-1f", "no cell")],
)
def test_impossible_tasks_are_told(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ForagingTask.parse(name)
