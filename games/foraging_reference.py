"""The original Level-Based Foraging, ``lbforaging``, behind the face of :class:`games.foraging_core.Board`.

It is the truth that the fast core is tested against, and can play any match in its stead (``engine="lbforaging"``).
This file is the only one that imports it: install ``csro[foraging]``.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from games.foraging_core import MAX_LEVEL, ForagingTask


def require_lbforaging() -> None:
    """Raises ``ValueError`` where it is not installed."""
    missing = [name for name in ("gymnasium", "lbforaging") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"engine 'lbforaging' needs {' and '.join(missing)}; install csro[foraging], or leave it out")


class OriginalBoard:
    """One episode of ``lbforaging`` with full sight, spawned from ``rng``."""

    def __init__(self, task: ForagingTask, rng: np.random.Generator) -> None:
        self._environment = _environment(task)
        self._environment.np_random = rng
        observations, _ = self._environment.reset()
        self._state: list[int] = observations[0].astype(int).tolist()
        self.over = False
        self.steps = 0

    def observe(self) -> list[int]:
        return list(self._state)

    def step(self, actions: Sequence[int]) -> list[float]:
        observations, rewards, self.over, _, _ = self._environment.step(list(actions))
        self._state = observations[0].astype(int).tolist()
        self.steps += 1
        return [float(reward) for reward in rewards]


def _environment(task: ForagingTask) -> Any:
    """A fresh one for each episode: in a used one, players not yet placed block the cells where they last stood."""
    import gymnasium

    specification = _registered(task)
    return gymnasium.make(specification, disable_env_checker=True, max_episode_steps=None).unwrapped


@cache
def _registered(task: ForagingTask) -> Any:
    """The task's registered specification; those with five foods or more are not registered, though they work."""
    require_lbforaging()
    import gymnasium
    import lbforaging  # noqa: F401  registers its tasks

    if task.name not in gymnasium.registry:
        gymnasium.register(
            id=task.name,
            entry_point="lbforaging.foraging:ForagingEnv",
            kwargs={
                "players": task.num_players,
                "min_player_level": 1,
                "max_player_level": MAX_LEVEL,
                "field_size": (task.size, task.size),
                "min_food_level": 1,
                "max_food_level": None,
                "max_num_food": task.num_foods,
                "sight": task.size,
                "max_episode_steps": task.max_steps,
                "force_coop": task.cooperative,
                "grid_observation": False,
                "penalty": 0.0,
            },
        )
    specification = copy.deepcopy(gymnasium.spec(task.name))  # not the registry's own
    specification.kwargs["max_episode_steps"] = task.max_steps
    return specification
