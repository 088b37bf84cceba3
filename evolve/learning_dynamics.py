"""Learning dynamics as meta-solvers: players adapt to each other, and the time average of their play is the mixture.

In zero-sum games each average tends to a Nash equilibrium; the accuracies stand in :mod:`evolve.meta_solvers`.
Averages never forget where play began, so weights within their error, under a thousandth of the heaviest, are dropped.
"""

from __future__ import annotations

import numpy as np

from evolve.empirical_game import EmpiricalGame
from evolve.normal_form import NEGLIGIBLE, MetaStrategy, NormalForm, Solution, solved, uniform_mixtures
from games.core import FloatArray

_LEAST_WEIGHT = 1e-3


def regret_matching(game: EmpiricalGame) -> MetaStrategy:
    """Regret matching+ in self-play, all players at once, average weighted by time (Tammelin 2014; Hart & Mas-Colell
    2000): 10,000 rounds."""
    return solved(game, _regret_matching, _LEAST_WEIGHT)


def _regret_matching(form: NormalForm, rounds: int = 10_000) -> Solution:
    regrets = [np.zeros(n) for n in form.sizes]
    current = uniform_mixtures(form.sizes)
    total = [np.zeros(n) for n in form.sizes]
    for t in range(1, rounds + 1):
        for k, returns in enumerate(form.deviations(current)):
            total[k] += t * current[k]
            regrets[k] = np.maximum(regrets[k] + returns - current[k] @ returns, 0.0)
        current = [r / r.sum() if r.any() else u for r, u in zip(regrets, uniform_mixtures(form.sizes), strict=True)]
    return [x / x.sum() for x in total]


def fictitious_play(game: EmpiricalGame) -> MetaStrategy:
    """Each player answers the others' averages, all at once (Brown 1951): 10,000 rounds from the uniform mixture.

    Equally good answers share the move, so that the result does not depend on the order of the policies."""
    return solved(game, _fictitious_play, _LEAST_WEIGHT)


def _fictitious_play(form: NormalForm, rounds: int = 10_000) -> Solution:
    average = uniform_mixtures(form.sizes)
    for t in range(1, rounds + 1):
        answers = [returns >= returns.max() - NEGLIGIBLE for returns in form.deviations(average)]
        average = [x + (best / best.sum() - x) / (t + 1) for x, best in zip(average, answers, strict=True)]
    return average


def replicator_dynamics(game: EmpiricalGame) -> MetaStrategy:
    """Time average of the replicator dynamics from the uniform mixture (Taylor & Jonker 1978), to time 2000 in units
    of one over the payoff span.

    Integrated by the midpoint rule in logarithms of the weights, where dx_i/dt = x_i (u_i - u.x) reads dy_i/dt = u_i,
    x = softmax(y): it cannot leave the simplex."""
    return solved(game, _replicator_dynamics, _LEAST_WEIGHT)


def _softmax(y: FloatArray) -> FloatArray:
    e = np.exp(y - y.max())
    weights: FloatArray = e / e.sum()
    return weights


def _replicator_dynamics(form: NormalForm, step: float = 0.2, steps: int = 10_000) -> Solution:
    logs = [np.zeros(n) for n in form.sizes]
    total = [np.zeros(n) for n in form.sizes]
    for _ in range(steps):
        returns = form.deviations([_softmax(y) for y in logs])
        halfway = [_softmax(y + step / 2 * u) for y, u in zip(logs, returns, strict=True)]
        logs = [y + step * u for y, u in zip(logs, form.deviations(halfway), strict=True)]
        for k, x in enumerate(halfway):
            total[k] += x
    return [x / steps for x in total]


def projected_replicator_dynamics(game: EmpiricalGame) -> MetaStrategy:
    """Replicator dynamics kept off the faces of the simplex, time average (Lanctot et al. 2017, §3.2).

    Each of n policies keeps at least 0.05 / n: a best response is then never blind to a policy of the pool."""
    return solved(game, _projected_replicator_dynamics)


def _projected_replicator_dynamics(
    form: NormalForm, exploration: float = 0.05, step: float = 0.1, steps: int = 10_000
) -> Solution:
    current = uniform_mixtures(form.sizes)
    total = [np.zeros(n) for n in form.sizes]
    for _ in range(steps):
        returns = form.deviations(current)
        moved = [x + step * x * (u - x @ u) for x, u in zip(current, returns, strict=True)]
        current = [_project(x, exploration / x.size) for x in moved]
        for k, x in enumerate(current):
            total[k] += x
    return [x / steps for x in total]


def _project(x: FloatArray, floor: float) -> FloatArray:
    """The nearest point of the simplex whose coordinates are all at least ``floor`` (Held, Wolfe & Crowder 1974)."""
    mass = 1.0 - floor * x.size
    ordered = np.sort(x - floor)[::-1]
    excess = (np.cumsum(ordered) - mass) / np.arange(1, x.size + 1)
    threshold = excess[np.flatnonzero(ordered > excess)[-1]]
    projected: FloatArray = np.maximum(x - floor - threshold, 0.0) + floor
    return projected
