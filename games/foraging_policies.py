"""Reference policies of Level-Based Foraging, from no plan at all to the exact joint optimum."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import Any

from games import foraging_planner
from games.core import Move, Observation, PolicyFactory
from games.foraging_core import EAST, LOAD, NONE, NORTH, NUM_ACTIONS, ForagingTask, neighbours

_FAR = 10**6
_SIDES = 4


class View:
    """The latest state of an observation, with cells as ``row * size + column``."""

    def __init__(self, observation: Mapping[str, Any]) -> None:
        self.size: int = observation["grid"][0]
        state = observation["state"][-1]
        cells = [row * self.size + column for row, column in zip(state[::3], state[1::3], strict=True)]
        num_foods = len(cells) - observation["num_players"]
        levels = state[2::3]
        self.foods = {cell: level for cell, level in zip(cells[:num_foods], levels[:num_foods], strict=True) if level}
        self.positions: list[int] = cells[num_foods:]
        self.levels: list[int] = levels[num_foods:]
        self.neighbours = neighbours(self.size)

    def sides(self, food: int) -> list[int]:
        """Cells beside a food; there are always four."""
        return list(self.neighbours[food][NORTH:LOAD])

    def distances(self, goals: Iterable[int], blocked: Iterable[int]) -> list[int]:
        """Steps from each cell to the nearest goal around the foods and ``blocked``; ``_FAR`` where there is no way."""
        walls = {*self.foods, *blocked}
        steps = [_FAR] * self.size**2
        queue = deque(goal for goal in goals if goal not in walls)
        for goal in queue:
            steps[goal] = 0
        while queue:
            cell = queue.popleft()
            for near in self.neighbours[cell][NORTH:LOAD]:
                if near not in walls and steps[near] == _FAR:
                    steps[near] = steps[cell] + 1
                    queue.append(near)
        return steps


class Random:
    """Every action with the same probability."""

    def __init__(self, player: int, seed: int) -> None:
        self._move = [1.0 / NUM_ACTIONS] * NUM_ACTIONS

    def act(self, observation: Observation) -> Move:
        return self._move


class Nearest:
    """Goes to the nearest food around whatever is in the way, and loads beside any; takes no heed of the others'
    plans, so that players may wait for each other at different foods for ever."""

    def __init__(self, player: int, seed: int) -> None:
        self._player = player

    def act(self, observation: Observation) -> Move:
        view = View(observation)
        here = view.positions[self._player]
        ways = view.neighbours[here]
        if any(cell in view.foods for cell in ways[NORTH:LOAD]):
            return LOAD
        row, column = divmod(here, view.size)
        target = min(view.foods, key=lambda f: (abs(f // view.size - row) + abs(f % view.size - column), f))
        others = [cell for seat, cell in enumerate(view.positions) if seat != self._player]
        steps = view.distances(view.sides(target), others)
        best = min(range(NORTH, LOAD), key=lambda action: steps[ways[action]])
        return best if steps[ways[best]] < _FAR else NONE


class Together:
    """All go to the one food that the last of them reaches first, each to a side of its own, and load when their
    levels suffice. All compute the same plan, and players earlier in it have the right of way."""

    def __init__(self, player: int, seed: int) -> None:
        self._player = player

    def act(self, observation: Observation) -> Move:
        view = View(observation)
        target, sides = _meeting(view)
        loaders = [seat for seat, cell in enumerate(view.positions) if target in view.neighbours[cell]]
        if sum(view.levels[seat] for seat in loaders) >= view.foods[target]:
            return LOAD if self._player in loaders else NONE
        return _moves(view, sides)[self._player]


def _meeting(view: View) -> tuple[int, dict[int, int]]:
    """The food to meet at, and which side of it is whose; more than four players leave the farthest without one."""

    def slowest(food: int) -> tuple[int, int]:
        steps = view.distances(view.sides(food), ())
        return sorted(steps[cell] for cell in view.positions)[:_SIDES][-1], food

    target = min(view.foods, key=slowest)
    steps_to = {side: view.distances([side], ()) for side in view.sides(target)}
    nearest = sorted(
        range(len(view.positions)), key=lambda seat: (min(s[view.positions[seat]] for s in steps_to.values()), seat)
    )
    seats = sorted(nearest[:_SIDES])

    def cost(sides: Iterable[int]) -> tuple[int, int]:
        walks = [steps_to[side][view.positions[seat]] for seat, side in zip(seats, sides, strict=True)]
        return max(walks), sum(walks)

    return target, dict(zip(seats, min(permutations(steps_to, len(seats)), key=cost), strict=True))


def _moves(view: View, sides: Mapping[int, int]) -> list[int]:
    """One action a player. Those who have arrived stay; the others in turn take the best step nobody has taken."""
    moves = [NONE] * len(view.positions)
    arrived = [seat for seat, side in sides.items() if view.positions[seat] == side]
    taken = {view.positions[seat] for seat in arrived}
    for seat, here in enumerate(view.positions):
        if seat in arrived:
            continue
        goal = sides.get(seat, here)
        steps = view.distances([goal], {view.positions[other] for other in arrived})
        ways = view.neighbours[here]
        free = [a for a in range(EAST + 1) if ways[a] not in taken and ways[a] not in view.foods]
        moves[seat] = min(free, key=lambda action: (steps[ways[action]], action), default=NONE)
        taken.add(ways[moves[seat]])
    return moves


def reference_population(task: ForagingTask) -> Mapping[str, PolicyFactory]:
    """``random``, ``nearest``, ``together``, and in two-player cooperative tasks ``planner``, the joint optimum."""
    population: dict[str, PolicyFactory] = {"random": Random, "nearest": Nearest, "together": Together}
    if task.cooperative and task.num_players == 2:
        population["planner"] = foraging_planner.Policy
    return population
