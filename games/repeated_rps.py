"""Repeated rock-paper-scissors: ``num_rounds`` simultaneous throws, scored by wins minus losses.

Reference: Lanctot et al. 2023, "Population-based evaluation in repeated rock-paper-scissors"
(arXiv:2303.03196), which measures an agent against the 43 bots of :mod:`games.roshambo`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from games.briefs import policy_class_api
from games.core import ActionArray, ActionHistory, FloatArray, Game, GameBrief, GameSpec, Observation, PolicyFactory

NUM_ACTIONS = 3
_THROWS = frozenset(range(NUM_ACTIONS))
MAX_ROUNDS = 1_000_000

_RULES = """\
Repeated rock-paper-scissors between two players. A match is {num_rounds} rounds. In each round both players
choose at the same time one of the actions 0 (rock), 1 (paper), 2 (scissors). Paper beats rock, scissors
beat paper, rock beats scissors: action a beats action b when a == (b + 1) % 3. The winner of a round gets
+1 and the loser -1; equal actions give 0 to both. After each round both see both actions. A player's
return is the sum over all {num_rounds} rounds, so it lies between -{num_rounds} and +{num_rounds}; the two
returns add to 0."""

_ACT_RETURNS = """\
act returns the action to play, the int 0, 1 or 2, or a list of 3 probabilities [rock, paper, scissors] that
add to 1, from which the referee draws. It is called once a round."""

_OBSERVATION = """
observation is a dict:
  "round": int, the number of rounds already played (0 at first)
  "num_rounds": int, the number of rounds in the match
  "my_actions": list of int, this player's actions so far, oldest first
  "opponent_actions": list of int, the opponent's actions so far, oldest first
The two lists are long at the end of a match: update a summary from their last entries rather than reading
them whole at each call, and do not change them."""

_SEED_PROGRAM = '''\
# EVOLVE-BLOCK-START
import random


class Policy:
    """Counts the opponent's throws, all in one context, and plays what beats the most frequent."""

    def __init__(self, player, seed):
        self.rng = random.Random(seed)
        self.counts = {}
        self.context = 0

    def act(self, observation):
        mine = observation["my_actions"]
        theirs = observation["opponent_actions"]
        if len(theirs) < 1:
            return self.rng.randrange(3)
        seen = self.counts.setdefault(self.context, [0, 0, 0])
        seen[theirs[-1]] += 1
        self.context = (0 * theirs[-1] + 0 * mine[-1]) % 9
        seen = self.counts.setdefault(self.context, [0, 0, 0])
        predicted = seen.index(max(seen))
        return (predicted + 1) % 3
# EVOLVE-BLOCK-END
'''

_SMOKE_MINE = (0, 2, 1, 1, 0, 2, 2)
_SMOKE_THEIRS = (1, 1, 2, 0, 0, 2, 1)


@dataclass(frozen=True)
class RepeatedRPS:
    """An :class:`games.core.ActionHistoryGame`; symmetric and zero-sum."""

    num_rounds: int = 1000

    def __post_init__(self) -> None:
        if type(self.num_rounds) is not int or not 1 <= self.num_rounds <= MAX_ROUNDS:
            raise ValueError(f"num_rounds must be an integer from 1 to {MAX_ROUNDS}, not {self.num_rounds!r}")

    @property
    def spec(self) -> GameSpec:
        return GameSpec(
            name="repeated_rps",
            num_players=2,
            num_actions=NUM_ACTIONS,
            symmetric=True,
            utility="zero_sum",
            return_range=(-float(self.num_rounds), float(self.num_rounds)),
            observation_form="action_history",
        )

    @property
    def brief(self) -> GameBrief:
        return GameBrief(
            rules=_RULES.format(num_rounds=self.num_rounds),
            policy_api=policy_class_api(_ACT_RETURNS, _OBSERVATION),
            seed_program=_SEED_PROGRAM,
            smoke_observations=self._smoke_observations(),
        )

    def _smoke_observations(self) -> tuple[Observation, ...]:
        rounds = range(min(self.num_rounds, len(_SMOKE_MINE) + 1))
        return tuple(
            {
                "round": t,
                "num_rounds": self.num_rounds,
                "my_actions": list(_SMOKE_MINE[:t]),
                "opponent_actions": list(_SMOKE_THEIRS[:t]),
            }
            for t in rounds
        )

    def new_episode(self, rng: np.random.Generator) -> RepeatedRPSEpisode:
        """One match. ``rng`` stays untouched: the rules hold no chance."""
        return RepeatedRPSEpisode(self.num_rounds)

    def returns_from_actions(self, actions: ActionArray) -> FloatArray:
        """Returns ``(N, 2)`` from joint actions ``(N, T, 2)``, T at most ``num_rounds``."""
        lead = (actions[..., 0].astype(np.int8) - actions[..., 1].astype(np.int8)) % NUM_ACTIONS
        first = (lead == 1).sum(axis=1) - (lead == 2).sum(axis=1)
        return np.stack([first, -first], axis=1).astype(np.float64)

    def reference_population(self) -> Mapping[str, PolicyFactory]:
        """The 43 RoShamBo bots by name. Loads OpenSpiel."""
        from games.roshambo import roshambo_population

        return roshambo_population(self.num_rounds)


class RepeatedRPSEpisode:
    """One match in progress."""

    def __init__(self, num_rounds: int) -> None:
        self._num_rounds = num_rounds
        self._views = (ActionHistory(num_rounds), ActionHistory(num_rounds))
        self._wins = 0

    def pending(self) -> Mapping[int, Observation]:
        first, second = self._views
        if len(first.mine) == self._num_rounds:
            return {}
        return {0: first.observation, 1: second.observation}

    def step(self, actions: Mapping[int, int]) -> None:
        if len(self._views[0].mine) == self._num_rounds:
            raise ValueError(f"the match is over after {self._num_rounds} rounds")
        first, second = actions.get(0), actions.get(1)
        if first not in _THROWS or second not in _THROWS or len(actions) != 2:
            raise ValueError(f"both players throw 0, 1 or 2, not {dict(actions)!r}")
        self._views[0].extend(first, second)
        self._views[1].extend(second, first)
        self._wins += (0, 1, -1)[(first - second) % NUM_ACTIONS]

    def returns(self) -> FloatArray:
        return np.array([self._wins, -self._wins], dtype=np.float64)


GAMES: Mapping[str, Callable[..., Game]] = {"repeated_rps": RepeatedRPS}
