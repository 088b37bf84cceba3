"""How fast two players can empty a cooperative foraging board at best, averaged exactly over all boards.

Boards are as :meth:`games.foraging_core.ForagingBoard.spawn` draws them: players on different cells, then each food
uniformly in the room left. Levels do not matter, since both players must load each food.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from games.foraging_core import ForagingBoard, ForagingTask, crowded, interior
from games.foraging_planner import Mask, steps_to_finish

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Optimum:
    """``distribution`` maps a number of steps to its probability; ``fewer_foods`` is that of a board with less room
    than the task has foods."""

    distribution: Mapping[int, Fraction]
    fewer_foods: Fraction

    @property
    def mean_steps(self) -> Fraction:
        """E[T*]."""
        return sum((steps * p for steps, p in self.distribution.items()), Fraction(0))

    @property
    def max_steps(self) -> int:
        return max(self.distribution)


def is_solved(task: ForagingTask) -> bool:
    """Is the optimum of ``task`` computed: two players, cooperation, at most two foods?"""
    return task.cooperative and task.num_players == 2 and task.num_foods <= 2


def fewest_steps(board: ForagingBoard) -> int:
    """T*: the fewest steps in which two players empty ``board``, which is one of a solved task."""
    size = board.task.size
    foods = frozenset(divmod(food, size) for food in board.foods)
    first, second = (divmod(cell, size) for cell in board.positions)
    return int(steps_to_finish(size, size, foods)[first + second])


@cache
def optimum(task: ForagingTask) -> Optimum:
    """Exact, for a cooperative task of two players and at most two foods; ``ValueError`` for any other."""
    if not is_solved(task):
        raise ValueError(f"the optimum is computed for two players, two foods and cooperation, not for {task.name}")
    size, inside = task.size, interior(task.size)
    first_room = _room(size, inside)
    distribution: dict[int, Fraction] = {}
    fewer = Fraction(0)
    for first in inside:
        seconds = inside - crowded(size, first) if task.num_foods == 2 else frozenset[int]()
        second_room = _room(size, seconds)
        alone = _spawned(size, (first,)) & (second_room == 0)
        chances = _chances(size, (first,), alone, first_room)
        fewer += sum(chances.values()) if task.num_foods == 2 else 0
        for steps, chance in chances.items():
            _add(distribution, steps, chance)
        for second in seconds:
            foods = first, second
            for steps, chance in _chances(size, foods, _spawned(size, foods), first_room * second_room).items():
                _add(distribution, steps, chance)
    return Optimum(dict(sorted(distribution.items())), fewer)


def _room(size: int, cells: frozenset[int]) -> IntArray:
    """How many of ``cells`` are free, for each pair of players' cells: shape ``(size**2, size**2)``."""
    taken = np.zeros(size**2, np.int64)
    taken[list(cells)] = 1
    room: IntArray = len(cells) - taken[:, None] - taken[None, :]
    return room


def _spawned(size: int, foods: tuple[int, ...]) -> Mask:
    """Pairs of players' cells that can stand on a board with these foods, shape ``(size**2, size**2)``."""
    pairs = ~np.eye(size**2, dtype=bool)
    pairs[list(foods)] = False
    pairs[:, list(foods)] = False
    return pairs


def _chances(size: int, foods: tuple[int, ...], pairs: Mask, room: IntArray) -> dict[int, Fraction]:
    """Probability that a board is one of ``pairs`` with ``foods`` in this order and takes so many steps.

    ``room`` is the number of ways in which the foods could have been put, the same for equal pairs of cells.
    """
    steps = steps_to_finish(size, size, frozenset(divmod(food, size) for food in foods)).reshape(pairs.shape)
    base = int(room.max()) + 1
    counts = np.bincount(steps[pairs].astype(np.int64) * base + room[pairs])
    chances: dict[int, Fraction] = {}
    for kind in np.flatnonzero(counts).tolist():
        needed, ways = divmod(kind, base)
        _add(chances, needed, Fraction(int(counts[kind]), size**2 * (size**2 - 1) * ways))
    return chances


def _add(chances: dict[int, Fraction], steps: int, chance: Fraction) -> None:
    chances[steps] = chances.get(steps, Fraction(0)) + chance
