"""Level-Based Foraging, the rules alone: a board that steps some hundred thousand times a second.

Players of level 1 or 2 walk a grid and load foods together: the players beside a food who choose LOAD in the same
step take it if their levels add up to the food's. The rules, the order of random draws and every reward are those of
``lbforaging`` 2.0.0 (Christianos et al. 2020), so that one generator gives both the same episode to the last bit;
tests compare them over thousands of episodes. What follows from the rules and may surprise:

* Two players may swap cells or follow each other; players who choose the same cell all stay where they are, and one
  who stays keeps others out. With three players or more, a player may enter the cell of another whose own move fails,
  and both then stand there.
* An action that is impossible (off the grid, into a food, LOAD away from food) counts as NONE.
* Foods keep off the border and away from each other, so that no cell is beside two of them. Where the first food
  leaves no room for the next, the board has fewer: on 5x5, one food in the centre.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)
NUM_ACTIONS = 6
MAX_LEVEL = 2
MAX_STEPS = 50
_SPAWN_ATTEMPTS = 1000
_NAME = re.compile(r"(?:Foraging-)?(\d+)x(\d+)-(\d+)p-(\d+)f(-coop)?(?:-v3)?", re.ASCII)


@dataclass(frozen=True)
class ForagingTask:
    """A square board of ``size`` cells a side. In a ``cooperative`` task each food needs the levels of three players
    together, or of both where there are two; else any level up to that is drawn."""

    size: int
    num_players: int
    num_foods: int
    cooperative: bool
    max_steps: int = MAX_STEPS

    def __post_init__(self) -> None:
        for name, low, high in (("size", 3, 19), ("num_players", 2, 9), ("num_foods", 1, 9), ("max_steps", 1, 10_000)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"{name} must be an integer from {low} to {high}, not {value!r}")
        # Every player and one food must find a free cell among the interior ones whatever comes first.
        if (self.size - 2) ** 2 <= self.num_players:
            raise ValueError(f"{self.num_players} players may leave no cell for food on {self.size}x{self.size}")

    @property
    def name(self) -> str:
        """The id that ``lbforaging`` gives the task, or would give it."""
        ending = "-coop" if self.cooperative else ""
        return f"Foraging-{self.size}x{self.size}-{self.num_players}p-{self.num_foods}f{ending}-v3"

    @classmethod
    def parse(cls, name: str, max_steps: int = MAX_STEPS) -> ForagingTask:
        """From an id such as ``Foraging-5x5-2p-2f-coop-v3`` or just ``5x5-2p-2f-coop``. Raises ``ValueError``."""
        found = _NAME.fullmatch(name)
        if found is None or found[1] != found[2]:
            raise ValueError(f"a foraging task is named like 5x5-2p-2f-coop or 10x10-3p-3f, not {name!r}")
        return cls(int(found[1]), int(found[3]), int(found[4]), found[5] is not None, max_steps)


class Board(Protocol):
    """An episode's rules: this module's :class:`ForagingBoard` or the original behind the same face."""

    @property
    def over(self) -> bool: ...

    @property
    def steps(self) -> int: ...

    def observe(self) -> list[int]:
        """``[row, column, level]`` of each food left in reading order, ``[-1, -1, 0]`` for each that is not, then of
        each player: player 0's observation in ``lbforaging``."""
        ...

    def step(self, actions: Sequence[int]) -> list[float]:
        """Plays one action of each player; the rewards. A food taken gives each loader its level's share of the
        food's part in all food levels, so that an emptied board has given 1 in all."""
        ...


@cache
def neighbours(size: int) -> tuple[tuple[int, ...], ...]:
    """Cell ``row * size + column`` to the cell that each action leads to; off the grid leads back."""
    table = []
    for row in range(size):
        for column in range(size):
            here = row * size + column
            table.append(
                (
                    here,
                    here - size if row > 0 else here,
                    here + size if row < size - 1 else here,
                    here - 1 if column > 0 else here,
                    here + 1 if column < size - 1 else here,
                    here,
                )
            )
    return tuple(table)


class ForagingBoard:
    """One episode. Cells are ``row * size + column``; ``foods`` maps a cell to its food's level."""

    __slots__ = ("_neighbours", "_total_food", "foods", "levels", "positions", "steps", "task")

    def __init__(self, task: ForagingTask, positions: list[int], levels: list[int], foods: dict[int, int]) -> None:
        self.task = task
        self.positions = positions
        self.levels = levels
        self.foods = foods
        self.steps = 0
        self._total_food = sum(foods.values())
        self._neighbours = neighbours(task.size)

    @classmethod
    def spawn(cls, task: ForagingTask, rng: np.random.Generator) -> ForagingBoard:
        """A random board. Draws from ``rng`` as the original does, and stops as soon as no more can come of it."""
        size = task.size
        rng.permutation(task.num_players)  # the original shuffles level bounds, which here are all alike
        positions: list[int] = []
        levels: list[int] = []
        while len(positions) < task.num_players:
            cell = int(rng.integers(0, size)) * size + int(rng.integers(0, size))
            if cell not in positions:
                positions.append(cell)
                levels.append(int(rng.integers(1, MAX_LEVEL + 1)))
        return cls(task, positions, levels, _spawn_foods(task, rng, positions, levels))

    @property
    def over(self) -> bool:
        return not self.foods or self.steps >= self.task.max_steps

    def observe(self) -> list[int]:
        size, foods = self.task.size, self.foods
        state: list[int] = []
        for cell in sorted(foods):
            state += (cell // size, cell % size, foods[cell])
        state += (-1, -1, 0) * (self.task.num_foods - len(foods))
        for cell, level in zip(self.positions, self.levels, strict=True):
            state += (cell // size, cell % size, level)
        return state

    def step(self, actions: Sequence[int]) -> list[float]:
        foods, positions, table = self.foods, self.positions, self._neighbours
        targets: list[int] = []
        loaders: dict[int, list[int]] = {}
        for player, action in enumerate(actions):
            here = positions[player]
            target = table[here][action]
            if action == LOAD:
                for cell in table[here][NORTH:LOAD]:
                    if cell in foods:
                        loaders.setdefault(cell, []).append(player)
            elif target in foods:
                target = here
            targets.append(target)
        self.positions = [
            target if targets.count(target) == 1 else here for target, here in zip(targets, positions, strict=True)
        ]
        self.steps += 1
        rewards = [0.0] * len(actions)
        for cell, players in loaders.items():
            self._load(cell, players, rewards)
        return rewards

    def _load(self, cell: int, players: Sequence[int], rewards: list[float]) -> None:
        strength = sum(self.levels[player] for player in players)
        level = self.foods[cell]
        if strength < level:
            return
        for player in players:
            # one division, as in the original: shares are then the same to the last bit
            rewards[player] = float(self.levels[player] * level) / float(strength * self._total_food)
        del self.foods[cell]


@cache
def crowded(size: int, food: int) -> frozenset[int]:
    """Cells where a food beside ``food`` may not be: those that touch it, corners too, and those two away in a
    straight line."""
    row, column = divmod(food, size)
    offsets = [(dr, dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)] + [(-2, 0), (2, 0), (0, -2), (0, 2)]
    near = ((row + dr, column + dc) for dr, dc in offsets)
    return frozenset(r * size + c for r, c in near if 0 <= r < size and 0 <= c < size)


@cache
def interior(size: int) -> frozenset[int]:
    """Cells off the border, where foods may be."""
    return frozenset(row * size + column for row in range(1, size - 1) for column in range(1, size - 1))


def _spawn_foods(
    task: ForagingTask, rng: np.random.Generator, positions: Sequence[int], levels: Sequence[int]
) -> dict[int, int]:
    size = task.size
    highest = sum(sorted(levels)[:3])
    rng.permutation(task.num_foods)
    foods: dict[int, int] = {}
    room = set(interior(size).difference(positions))
    attempts = 0
    while room and len(foods) < task.num_foods and attempts < _SPAWN_ATTEMPTS:
        attempts += 1
        cell = int(rng.integers(1, size - 1)) * size + int(rng.integers(1, size - 1))
        if cell in room:
            foods[cell] = highest if task.cooperative else int(rng.integers(1, highest + 1))
            room -= crowded(size, cell)
    return foods
