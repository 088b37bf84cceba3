"""Which entries of the empirical game deserve more matches: those whose noise can change the meta-strategy.

A policy's gain is its return against the others' mixtures less the value. Where it is within two standard errors of 0,
noise may decide whether the policy belongs to the support; so the entries behind it that the others' mixtures weigh
most, and that are known worst, come first. Entries between policies that lose clearly are left as they are.
"""

from __future__ import annotations

import numpy as np

from evolve.empirical_game import EmpiricalGame, Profile
from evolve.meta_solvers import MetaStrategy
from games.core import FloatArray

_STANDARD_ERRORS = 2.0
_LEAST_SHARE = 1e-6  # of the payoff span: uncertainty below it changes nothing


def due_profiles(game: EmpiricalGame, meta_strategy: MetaStrategy) -> list[Profile]:
    """Profiles on whose noise the meta-strategy hangs, the most uncertain first.

    Empty where no entry's noise can matter: all gains are clear, or payoffs carry no error."""
    mixtures = [np.array(list(meta_strategy.mixture(seat).values())) for seat in range(game.num_players)]
    urgency = np.zeros([len(ids) for ids in game.seats])
    for player in range(game.num_players):
        urgency = np.maximum(urgency, _urgency(game, mixtures, player))
    span = float(np.ptp(game.payoff_matrix())) or 1.0
    place = [{program_id: k for k, program_id in enumerate(ids)} for ids in game.seats]

    def of(profile: Profile) -> float:
        index = tuple(place[seat][program_id] for seat, program_id in enumerate(profile))
        mirrored = float(urgency[index[::-1]]) if game.symmetric else 0.0
        return max(float(urgency[index]), mirrored)

    ranked = sorted(((of(profile), profile) for profile in game.played()), key=lambda pair: -pair[0])
    return [profile for value, profile in ranked if value > _LEAST_SHARE * span]


def _urgency(game: EmpiricalGame, mixtures: list[FloatArray], player: int) -> FloatArray:
    """Per profile: the standard error that its entry adds to the gain of ``player``'s policy, if that is not clear.

    Shape: the sizes of the populations."""
    returns, errors = game.payoff_matrix(player), game.stderr_matrix(player)
    others = np.ones_like(returns)  # probability that the others play their part of the profile
    for seat, mixture in enumerate(mixtures):
        if seat != player:
            others = others * mixture.reshape([-1 if k == seat else 1 for k in range(returns.ndim)])
    axes = tuple(k for k in range(returns.ndim) if k != player)
    deviations = (others * returns).sum(axis=axes)
    gains = deviations - mixtures[player] @ deviations
    noise = np.sqrt(((others * errors) ** 2).sum(axis=axes))
    unclear = np.abs(gains) <= _STANDARD_ERRORS * noise
    shape = [-1 if k == player else 1 for k in range(returns.ndim)]
    weighted: FloatArray = others * errors * unclear.reshape(shape)
    return weighted
