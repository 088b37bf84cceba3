"""Meta-solvers: functions from an empirical game to a mixture over each of its populations.

======================================  ============================  ==========================================
solver                                  games                         in them it finds
======================================  ============================  ==========================================
``nash``                                two-player zero-sum           an exact Nash equilibrium (linear program)
``regret_matching``                     all                           zero-sum: Nash, within about 1e-3 of the span
``fictitious_play``                     all                           zero-sum: Nash, within about 1e-2 of the span
``replicator_dynamics``                 all                           zero-sum: Nash, within about 1e-2 of the span
``projected_replicator_dynamics``       all                           the same, every policy keeping some weight
``alpha_rank``                          all (up to 4096 profiles)     the long-run masses of alpha-Rank
``uniform``                             all                           equal weights
======================================  ============================  ==========================================

Outside zero-sum games the averages of regret matching, fictitious play and the replicator dynamics are mixtures to
respond to, not equilibria; :attr:`MetaStrategy.exploitability` says how far off they are. All solvers but ``uniform``
see payoff-identical policies as one and split its weight evenly among them, so a copy changes neither the value nor
how much anything else is played. A game in which all policies are equal gets equal weights from each solver.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np
from scipy.optimize import linprog, nnls

from evolve.empirical_game import EmpiricalGame
from evolve.learning_dynamics import (
    fictitious_play,
    projected_replicator_dynamics,
    regret_matching,
    replicator_dynamics,
)
from evolve.normal_form import (
    NEGLIGIBLE,
    MetaSolver,
    MetaStrategy,
    NormalForm,
    Solution,
    meta_strategy,
    normal_form,
    solved,
    uniform_mixtures,
)
from games.core import FloatArray, Utility

__all__ = ["META_SOLVERS", "MetaSolver", "MetaStrategy", "alpha_rank", "check_solver", "meta_solver", "nash", "uniform"]

_INTERIOR_POINT_ABOVE = 300  # policies; measured: HiGHS's dual simplex takes 24 s at 1000, its interior point 7
_LEAST_NORM_UP_TO = 50  # policies; beyond this, ties between equilibria do not pay for their solution
_MAX_PROFILES = 4096  # of the dense alpha-Rank chain: 128 MiB


def nash(game: EmpiricalGame) -> MetaStrategy:
    """Nash equilibrium of a two-player zero-sum game, by linear programming (von Neumann's minimax theorem).

    Where there are several, and at most 50 policies, it is the one that spreads its weight most (least Euclidean
    norm, so greatest Rényi-2 entropy): a choice that does not depend on the order of the policies.
    Raises ``ValueError`` for any other kind of game.
    """
    check_solver("nash", game.utility, game.num_players)

    def solve(form: NormalForm) -> Solution:
        matrix = form.tensors[0]
        return [_maximin(matrix)] if form.symmetric else [_maximin(matrix), _maximin(-matrix.T)]

    return solved(game, solve)


def check_solver(name: str, utility: Utility, num_players: int) -> None:
    """Raises ``ValueError`` with one line that names those that do, if solver ``name`` does not take such games."""
    if name == "nash" and (utility != "zero_sum" or num_players != 2):
        others = ", ".join(other for other in META_SOLVERS if other != "nash")
        kind = f"a {utility} game of {num_players} players"
        raise ValueError(f"nash solves two-player zero-sum games, not {kind}: use one of {others}")


def _maximin(matrix: FloatArray) -> FloatArray:
    """The row mixture ``x`` that maximises ``min_j (x @ matrix)_j``."""
    rows, columns = matrix.shape
    result = linprog(
        c=np.r_[np.zeros(rows), -1.0],  # the last variable is the value
        A_ub=np.c_[-matrix.T, np.ones(columns)],
        b_ub=np.zeros(columns),
        A_eq=np.r_[np.ones(rows), 0.0][None],
        b_eq=[1.0],
        bounds=[(0, None)] * rows + [(None, None)],
        method="highs-ipm" if rows > _INTERIOR_POINT_ABOVE else "highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not result.success:
        raise ArithmeticError(f"the linear program of a {rows} x {columns} game was not solved: {result.message}")
    vertex = np.maximum(result.x[:rows], 0.0)
    vertex /= vertex.sum()
    return vertex if rows > _LEAST_NORM_UP_TO else _least_norm_maximin(matrix, vertex)


def _least_norm_maximin(matrix: FloatArray, vertex: FloatArray) -> FloatArray:
    """The maximin mixture of least Euclidean norm, given one of them; ``vertex`` itself if rounding gets in the way.

    Least distance programming by non-negative least squares (Lawson & Hanson, Solving Least Squares Problems, ch. 23):
    minimise |x| subject to G x >= h, where G x >= h says "x is a mixture that earns the value against every column".
    """
    rows, columns = matrix.shape
    value = float((vertex @ matrix).min())
    constraints = np.vstack([matrix.T, np.eye(rows), np.ones((1, rows)), -np.ones((1, rows))])
    bounds = np.r_[np.full(columns, value), np.zeros(rows), 1.0, -1.0]
    target = np.r_[np.zeros(rows), 1.0]
    stacked = np.vstack([constraints.T, bounds])
    try:
        dual, _ = nnls(stacked, target)
    except RuntimeError:  # out of iterations
        return vertex
    residual = stacked @ dual - target
    x = np.maximum(-residual[:rows] / residual[rows], 0.0) if residual[rows] else vertex
    x = x / x.sum()
    return x if (x @ matrix).min() >= value - 10 * NEGLIGIBLE else vertex


def alpha_rank(game: EmpiricalGame) -> MetaStrategy:
    """Masses of alpha-Rank in the limit of infinite selection (Omidshafiei et al. 2019), per population.

    The chain moves between profiles that differ in one player's policy (symmetric: between policies), to the better one
    with probability 1 - 1e-4 and to the worse one with 1e-4, so that it has one stationary distribution; its marginals
    are the weights, less those under a thousandth of the heaviest. Raises ``ValueError`` beyond 4096 profiles.
    """

    def solve(form: NormalForm) -> Solution:
        shape = form.sizes
        if np.prod(shape) > _MAX_PROFILES:
            raise ValueError(f"alpha_rank takes up to {_MAX_PROFILES} profiles, not {np.prod(shape)}")
        masses = _stationary(_transitions(form)).reshape(shape)
        everyone = range(len(shape))
        return [masses.sum(axis=tuple(q for q in everyone if q != player)) for player in everyone]

    return solved(game, solve, least_weight=1e-3)


def _transitions(form: NormalForm, mutation: float = 1e-4) -> FloatArray:
    """Row-stochastic, shape (profiles, profiles)."""

    def fixation(gain: FloatArray) -> FloatArray:
        equal = np.abs(gain) <= NEGLIGIBLE
        return np.where(equal, 0.5, np.where(gain > 0, 1 - mutation, mutation))

    if form.symmetric:
        matrix = form.tensors[0]
        chain = fixation(matrix.T - matrix)
    else:
        profiles = np.arange(np.prod(form.sizes)).reshape(form.sizes)
        chain = np.zeros((profiles.size, profiles.size))
        for player, tensor in enumerate(form.tensors):
            number = np.moveaxis(profiles, player, 0).reshape(form.sizes[player], -1)
            earned = np.moveaxis(tensor, player, 0).reshape(form.sizes[player], -1)
            for resident in range(form.sizes[player]):
                chain[number[resident], number] = fixation(earned - earned[resident])
    np.fill_diagonal(chain, 0.0)
    chain /= max(1, sum(n - 1 for n in form.sizes))
    np.fill_diagonal(chain, 1.0 - chain.sum(axis=1))
    return chain


def _stationary(chain: FloatArray) -> FloatArray:
    """The stationary distribution of an irreducible chain."""
    equations = chain.T - np.eye(len(chain))
    equations[-1] = 1.0  # one balance equation follows from the others; the sum takes its place
    right = np.zeros(len(chain))
    right[-1] = 1.0
    masses = np.maximum(np.linalg.solve(equations, right), 0.0)
    normalised: FloatArray = masses / masses.sum()
    return normalised


def uniform(game: EmpiricalGame) -> MetaStrategy:
    """The same weight for each policy."""
    form = normal_form(game)
    return meta_strategy(game, form, uniform_mixtures([len(ids) for ids in game.populations]))


META_SOLVERS: Mapping[str, MetaSolver] = {
    solver.__name__: solver
    for solver in (
        nash,
        uniform,
        replicator_dynamics,
        projected_replicator_dynamics,
        regret_matching,
        fictitious_play,
        alpha_rank,
    )
}


def meta_solver(name: str) -> MetaSolver:
    """The meta-solver called ``name``. Raises ``ValueError`` with the near matches for an unknown one."""
    try:
        return META_SOLVERS[name]
    except KeyError:
        near = difflib.get_close_matches(name, META_SOLVERS, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(META_SOLVERS)}"
        raise ValueError(f"unknown meta-solver {name!r}: {hint}") from None
