"""Tabular Q-learning (Watkins 1989) in repeated two-player games, trained in self-play on recent histories.

The state is the last ``recall`` joint actions, so there are 9 ** recall of them in rock-paper-scissors and a table of
recall 10 meets nearly every state of a match for the first time: it plays at random, as the CSRO paper's QL does.
Step size, discount and exploration are those of OpenSpiel's RoShamBo example; the training is ours and shorter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from evolve.baselines.repeated_games import Context, SelfPlay, StagePayoffs, context_in, stage_payoffs
from games.core import Game, Move, Observation, PolicyFactory

_RECALLS = (1, 10)
_TIE = 1e-12


@dataclass(frozen=True)
class QLearningSettings:
    """``rounds`` of self-play; exploration falls linearly from ``first_epsilon`` to ``last_epsilon`` over them."""

    recall: int
    rounds: int = 50_000
    step_size: float = 0.01
    discount: float = 0.99
    first_epsilon: float = 0.5
    last_epsilon: float = 0.2
    seed: int = 1


class GreedyPolicy:
    """Plays an action of the highest value of its state, each of equals alike; any action in a state never met."""

    def __init__(self, payoffs: StagePayoffs, settings: QLearningSettings, player: int, seed: int) -> None:
        self._recall = settings.recall
        self._values = trained(payoffs, settings)
        self._none = [0.0] * len(payoffs)

    def act(self, observation: Observation) -> Move:
        values = self._values.get(context_in(observation, self._recall), self._none)
        best = [value >= max(values) - _TIE for value in values]
        return [float(chosen) / sum(best) for chosen in best]


@lru_cache(maxsize=4)
def trained(payoffs: StagePayoffs, settings: QLearningSettings) -> Mapping[Context, list[float]]:
    """Action values by state, of one learner that plays a single match against itself and learns from both seats.

    The same arguments give the same values."""
    actions, match, rng = len(payoffs), SelfPlay(settings.recall), np.random.default_rng(settings.seed)
    values: dict[Context, list[float]] = {}
    explores = rng.random((settings.rounds, 2)) < np.linspace(
        settings.first_epsilon, settings.last_epsilon, settings.rounds
    ).reshape(-1, 1)
    tried = rng.integers(actions, size=(settings.rounds, 2))
    states = match.contexts()
    for explore, random in zip(explores.tolist(), tried.tolist(), strict=True):
        rows = [values.setdefault(state, [0.0] * actions) for state in states]
        joint = [random[seat] if explore[seat] else _greedy(rows[seat], random[seat]) for seat in (0, 1)]
        match.play(joint)
        states = match.contexts()
        for seat, row in enumerate(rows):
            reward = payoffs[joint[seat]][joint[1 - seat]]
            ahead = max(values.get(states[seat], (0.0,)))
            row[joint[seat]] += settings.step_size * (reward + settings.discount * ahead - row[joint[seat]])
    return values


def _greedy(row: Sequence[float], random: int) -> int:
    """The best action; ``random`` where it is one of several best ones."""
    best = max(row)
    return random if row[random] >= best - _TIE else row.index(best)


def policies(game: Game) -> Mapping[str, PolicyFactory]:
    """``q_learning-R``, R being the recall."""
    payoffs = stage_payoffs(game)
    if payoffs is None:
        return {}
    return {f"q_learning-{recall}": partial(GreedyPolicy, payoffs, QLearningSettings(recall)) for recall in _RECALLS}
