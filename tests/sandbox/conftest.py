"""One referee for all tests of this package, and a turn-taking game with legal actions and chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from games.core import FloatArray, GameBrief, GameSpec, Observation, PolicyFactory
from sandbox.limits import Limits
from sandbox.referee import Referee


@dataclass(frozen=True)
class Countdown:
    """Three players in turn take 1 or 2 (never more than is left) from a heap of chance size; the last taker wins."""

    lockstep: int = 8

    @property
    def spec(self) -> GameSpec:
        return GameSpec(
            name="countdown",
            num_players=3,
            num_actions=300,
            symmetric=False,
            utility="general_sum",
            return_range=(0.0, 1.0),
            lockstep=self.lockstep,
        )

    @property
    def brief(self) -> GameBrief:
        smoke = ({"left": 9, "taken": [], "legal_actions": [1, 2]}, {"left": 1, "taken": [2, 2], "legal_actions": [1]})
        return GameBrief("take", "policy(observation)", "def policy(observation): return 1\n", smoke)

    def new_episode(self, rng: np.random.Generator) -> CountdownEpisode:
        return CountdownEpisode(int(rng.integers(8, 15)))

    def reference_population(self) -> Mapping[str, PolicyFactory]:
        return {}


class CountdownEpisode:
    def __init__(self, left: int) -> None:
        self.left = left
        self.taken: list[int] = []
        self.log: dict[str, list[int]] = {}

    def pending(self) -> Mapping[int, Observation]:
        if self.left == 0:
            return {}
        player = len(self.taken) % 3
        seen: dict[str, object] = {"left": self.left, "taken": self.taken, "legal_actions": [1, 2][: self.left]}
        if len(self.taken) == 4:
            seen["halfway"] = True
        return {player: seen}

    def step(self, actions: Mapping[int, int]) -> None:
        ((_, take),) = actions.items()
        self.left -= take
        self.taken.append(take)

    def returns(self) -> FloatArray:
        values = np.zeros(3)
        values[(len(self.taken) - 1) % 3] = 1.0
        return values


class Constant:
    """A trusted policy that always plays the same action."""

    def __init__(self, action: int) -> None:
        self.action = action

    def act(self, observation: Observation) -> int:
        return self.action


@pytest.fixture(scope="session")
def referee() -> Iterator[Referee]:
    with Referee(Limits()) as running:
        yield running
