"""What policies of Level-Based Foraging may call: reading a state, adjacency, legal steps.

The names and contracts are those that the policies in Appendix C.2 of the PIBR paper count on. In the paper's
coordinates ``x`` is the **row** and ``y`` the **column**. Everything is pure and needs nothing but the standard
library; the sandbox hands ``HELPERS`` to policies as built-in names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

Cell = tuple[int, int]

LOAD = 5
_STEPS: Mapping[int, Cell] = {1: (-1, 0), 2: (1, 0), 3: (0, -1), 4: (0, 1)}


class Agent(TypedDict):
    x: int
    y: int
    level: int


class Food(TypedDict):
    x: int
    y: int
    level: int
    alive: bool


class GridState(TypedDict):
    foods: list[Food]
    agents: list[Agent]


class JointLoad(TypedDict):
    can: bool
    food_index: int | None
    food: Food | None


def parse_grid_state(state: Sequence[float], num_agents: int = 2) -> GridState:
    """One state as records: foods in reading order, those already taken last with ``alive`` false (and -1, -1 for
    their cell), then agents by seat. Raises ``ValueError`` unless ``state`` is triples, one an agent and more."""
    numbers = [int(value) for value in state]
    num_foods = len(numbers) // 3 - num_agents
    if len(numbers) % 3 or num_foods < 0:
        raise ValueError(f"a state holds 3 numbers for each food and each of {num_agents} agents, not {len(numbers)}")
    triples = [(numbers[i], numbers[i + 1], numbers[i + 2]) for i in range(0, len(numbers), 3)]
    foods: list[Food] = [{"x": x, "y": y, "level": level, "alive": level > 0} for x, y, level in triples[:num_foods]]
    agents: list[Agent] = [{"x": x, "y": y, "level": level} for x, y, level in triples[num_foods:]]
    return {"foods": foods, "agents": agents}


def is_adjacent(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two cells share a side."""
    return abs(first[0] - second[0]) + abs(first[1] - second[1]) == 1


def can_joint_load_any_food_two_agents(agent0: Agent, agent1: Agent, foods: Sequence[Food]) -> JointLoad:
    """Whether both agents stand beside one food that their levels are enough for: ``can``, and which in ``foods``."""
    for index, food in enumerate(foods):
        beside = all(is_adjacent((a["x"], a["y"]), (food["x"], food["y"])) for a in (agent0, agent1))
        if _alive(food) and beside and agent0["level"] + agent1["level"] >= food["level"]:
            return {"can": True, "food_index": index, "food": food}
    return {"can": False, "food_index": None, "food": None}


def build_occupied_positions(
    foods: Sequence[Food], agents: Sequence[Agent], exclude_agent_idx: int | None = None
) -> set[Cell]:
    """Cells of the foods still there and of all agents but one."""
    others = [agent for index, agent in enumerate(agents) if index != exclude_agent_idx]
    return {(food["x"], food["y"]) for food in foods if _alive(food)} | {(a["x"], a["y"]) for a in others}


def get_valid_moves(
    me: Agent, foods: Sequence[Food], other: Agent, grid_h: int, grid_w: int, include_load: bool = True
) -> list[int]:
    """Actions 1 to 4 that lead to a free cell, and 5 beside a food if ``include_load``; never 0."""
    occupied = build_occupied_positions(foods, [other])
    moves = []
    for action, (dx, dy) in _STEPS.items():
        x, y = me["x"] + dx, me["y"] + dy
        if 0 <= x < grid_h and 0 <= y < grid_w and (x, y) not in occupied:
            moves.append(action)
    here = (me["x"], me["y"])
    if include_load and any(_alive(food) and is_adjacent(here, (food["x"], food["y"])) for food in foods):
        moves.append(LOAD)
    return moves


def _alive(food: Food) -> bool:
    return food.get("alive", True)


HELPERS: Mapping[str, Callable[..., object]] = {
    "parse_grid_state": parse_grid_state,
    "is_adjacent": is_adjacent,
    "can_joint_load_any_food_two_agents": can_joint_load_any_food_two_agents,
    "build_occupied_positions": build_occupied_positions,
    "get_valid_moves": get_valid_moves,
}
