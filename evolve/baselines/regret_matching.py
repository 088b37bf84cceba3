"""Contextual regret matching (ContRM) in repeated two-player games: one regret matcher for each recent history.

A context is the last ``recall`` joint actions, fewer at the start of a match. In each context the player matches the
positive part of its regrets (Hart & Mas-Colell 2000), which are of full information, every action's payoff against what
the opponent did, and never fall below zero (regret matching+, Tammelin 2014). The definition is ours: the CSRO paper
names ContRM without giving one, and trains it in self-play, which comes close to uniform play; learning anew in each
match, from that match alone, it is a strong player. Both are here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np

from evolve.baselines.repeated_games import Context, SelfPlay, StagePayoffs, context_in, stage_payoffs
from games.core import Game, Move, Observation, PolicyFactory

_ONLINE_RECALLS = (0, 1, 2, 3)
_SELF_PLAY_RECALLS = (1, 3)
_TRAINING_ROUNDS = 30_000
_TRAINING_SEED = 1


@dataclass
class Regrets:
    """Accumulated regrets of each action by context, those of a context never met being zero."""

    payoffs: StagePayoffs
    by_context: dict[Context, list[float]] = field(default_factory=dict)

    def mixture(self, context: Context) -> list[float]:
        """Probabilities in proportion to the regrets; uniform where there are none."""
        regrets = self.by_context.get(context)
        actions = len(self.payoffs)
        if regrets is None or not any(regrets):
            return [1.0 / actions] * actions
        total = sum(regrets)
        return [regret / total for regret in regrets]

    def learn(self, context: Context, opponent_action: int) -> None:
        """The opponent answered the mixture of ``context`` with ``opponent_action``."""
        earned = [row[opponent_action] for row in self.payoffs]
        expected = sum(p * value for p, value in zip(self.mixture(context), earned, strict=True))
        regrets = self.by_context.get(context) or [0.0] * len(earned)
        self.by_context[context] = [
            max(0.0, regret + value - expected) for regret, value in zip(regrets, earned, strict=True)
        ]


class OnlineRegretMatching:
    """Learns from nothing in each match."""

    def __init__(self, payoffs: StagePayoffs, recall: int, player: int, seed: int) -> None:
        self._recall = recall
        self._regrets = Regrets(payoffs)
        self._context: Context = ()

    def act(self, observation: Observation) -> Move:
        theirs: Sequence[int] = observation["opponent_actions"]  # type: ignore[assignment]
        if theirs:
            self._regrets.learn(self._context, theirs[-1])
        self._context = context_in(observation, self._recall)
        return self._regrets.mixture(self._context)


class TrainedRegretMatching:
    """Plays the average strategy of its training and learns no more."""

    def __init__(self, payoffs: StagePayoffs, recall: int, player: int, seed: int) -> None:
        self._recall = recall
        self._averages = trained(payoffs, recall)
        self._uniform = [1.0 / len(payoffs)] * len(payoffs)

    def act(self, observation: Observation) -> Move:
        return self._averages.get(context_in(observation, self._recall), self._uniform)


@lru_cache(maxsize=8)
def trained(
    payoffs: StagePayoffs, recall: int, rounds: int = _TRAINING_ROUNDS, seed: int = _TRAINING_SEED
) -> Mapping[Context, list[float]]:
    """The average strategy by context of one learner that plays ``rounds`` rounds against itself in a single match.

    The learner sees each round from both seats and learns from both. The same arguments give the same strategy."""
    learner, rng = Regrets(payoffs), np.random.default_rng(seed)
    sums: defaultdict[Context, list[float]] = defaultdict(lambda: [0.0] * len(payoffs))
    draws, match = rng.random((rounds, 2)), SelfPlay(recall)
    for first_draw, second_draw in draws.tolist():
        contexts = match.contexts()
        mixtures = [learner.mixture(context) for context in contexts]
        actions = [_drawn(*pair) for pair in zip(mixtures, (first_draw, second_draw), strict=True)]
        for seat, context in enumerate(contexts):
            sums[context] = [total + p for total, p in zip(sums[context], mixtures[seat], strict=True)]
            learner.learn(context, actions[1 - seat])
        match.play(actions)
    return {context: [total / sum(totals) for total in totals] for context, totals in sums.items()}


def _drawn(mixture: Sequence[float], draw: float) -> int:
    for action, probability in enumerate(mixture):
        draw -= probability
        if draw < 0:
            return action
    return max(range(len(mixture)), key=mixture.__getitem__)  # rounding


def policies(game: Game) -> Mapping[str, PolicyFactory]:
    """``regret_matching-R`` learns online, ``regret_matching-selfplay-R`` is trained; R is the recall."""
    payoffs = stage_payoffs(game)
    if payoffs is None:
        return {}
    online = {f"regret_matching-{r}": partial(OnlineRegretMatching, payoffs, r) for r in _ONLINE_RECALLS}
    return online | {
        f"regret_matching-selfplay-{r}": partial(TrainedRegretMatching, payoffs, r) for r in _SELF_PLAY_RECALLS
    }
