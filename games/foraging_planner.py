"""The exact optimum of two-player cooperative foraging, by planning for both players at once.

:func:`steps_to_finish` tells for every pair of cells the fewest steps in which two players empty the board. It works
backwards from where both stand beside a food, over joint steps, which can all be undone: two players may go to any
two different cells beside or under them. A policy that goes down this table is optimal without a word between
the players, as long as both do (:class:`Policy`).

The file is also a policy program as it stands: it needs only numpy and defines ``Policy`` (:func:`program_text`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cell = tuple[int, int]
Foods = frozenset[Cell]
Mask = NDArray[np.bool_]
Table = NDArray[np.uint8]

UNREACHABLE = 255
_LOAD = 5
_STEPS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # NONE, NORTH, SOUTH, WEST, EAST


def _spread(cells: Mask) -> Mask:
    """Cells in or beside which a marked one is, along the first two axes."""
    spread = cells.copy()
    spread[1:] |= cells[:-1]
    spread[:-1] |= cells[1:]
    spread[:, 1:] |= cells[:, :-1]
    spread[:, :-1] |= cells[:, 1:]
    return spread


def _joint(first: Mask, second: Mask) -> Mask:
    """Pairs of cells from two sets of cells, shape ``(rows, columns, rows, columns)``."""
    pairs: Mask = first[:, :, None, None] & second[None, None]
    return pairs


@lru_cache(maxsize=512)
def load_now(rows: int, columns: int, foods: Foods) -> Table:
    """Steps to finish when the players load where they stand, ``UNREACHABLE`` where they cannot.

    ``foods`` are cells ``(row, column)``. Shape ``(rows, columns, rows, columns)`` over both players' cells, uint8.
    """
    best = np.full((rows, columns, rows, columns), UNREACHABLE, np.uint8)
    for food in foods:
        there = np.zeros((rows, columns), bool)
        there[food] = True
        beside = _spread(there) & ~there
        rest = foods - {food}
        after = steps_to_finish(rows, columns, rest) if rest else np.zeros_like(best)
        loading = _joint(beside, beside) & _legal(rows, columns, foods) & (after < UNREACHABLE)
        best[loading] = np.minimum(best[loading], after[loading] + 1)
    return best


@lru_cache(maxsize=512)
def steps_to_finish(rows: int, columns: int, foods: Foods) -> Table:
    """Fewest steps until the board is empty, shaped as :func:`load_now`; ``UNREACHABLE`` for impossible pairs."""
    legal = _legal(rows, columns, foods)
    loaded = load_now(rows, columns, foods)
    steps = np.full(loaded.shape, UNREACHABLE, np.uint8)
    frontier = np.zeros(loaded.shape, bool)
    for depth in range(1, UNREACHABLE):
        reached = _spread(_spread(frontier).transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1)
        frontier = (reached | (loaded == depth)) & legal & (steps == UNREACHABLE)
        steps[frontier] = depth
        if not frontier.any() and not (loaded[steps == UNREACHABLE] < UNREACHABLE).any():
            break
    return steps


def _legal(rows: int, columns: int, foods: Foods) -> Mask:
    """Pairs of different cells without food."""
    free = np.ones((rows, columns), bool)
    for food in foods:
        free[food] = False
    cells = rows * columns
    different = ~np.eye(cells, dtype=bool).reshape(rows, columns, rows, columns)
    return _joint(free, free) & different


def joint_actions(rows: int, columns: int, foods: Foods, first: Cell, second: Cell) -> tuple[int, int]:
    """The first pair of actions, in the order of their numbers, that keeps both players on an optimal way."""
    steps = steps_to_finish(rows, columns, foods)
    left = int(steps[first + second])
    if load_now(rows, columns, foods)[first + second] == left:
        return _LOAD, _LOAD
    for action0, (row0, column0) in enumerate(_STEPS):
        for action1, (row1, column1) in enumerate(_STEPS):
            target0 = (first[0] + row0, first[1] + column0)
            target1 = (second[0] + row1, second[1] + column1)
            on_grid = all(0 <= r < rows and 0 <= c < columns for r, c in (target0, target1))
            if on_grid and steps[target0 + target1] == left - 1:
                return action0, action1
    return 0, 0


def read_state(state: Sequence[int]) -> tuple[Foods, Cell, Cell]:
    """The foods left and the two players' cells, from an observation's state of a two-player game."""
    cells = [(int(state[i]), int(state[i + 1])) for i in range(0, len(state), 3)]
    foods = frozenset(cell for cell, level in zip(cells[:-2], state[2::3], strict=False) if level > 0)
    return foods, cells[-2], cells[-1]


class Policy:
    """Plans the shortest way for both players together and plays its own part of it.

    For two players in a cooperative task. Ties go by action number, so two of these agree without talking.
    """

    def __init__(self, player: int, seed: int) -> None:
        self.player = player

    def act(self, observation: Mapping[str, Any]) -> int:
        foods, first, second = read_state(observation["state"][-1])
        rows, columns = observation["grid"]
        return joint_actions(rows, columns, foods, first, second)[self.player]


def program_text() -> str:
    """This file's text: a policy program that plays the optimum in the sandbox."""
    import inspect

    return inspect.getsource(sys.modules[__name__])
