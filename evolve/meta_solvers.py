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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog, nnls

from evolve.empirical_game import EmpiricalGame
from games.core import FloatArray

_NEGLIGIBLE = 1e-12  # of the payoff span, and of probability
_INTERIOR_POINT_ABOVE = 300  # policies; measured: HiGHS's dual simplex takes 24 s at 1000, its interior point 7
_LEAST_NORM_UP_TO = 50  # policies; beyond this, ties between equilibria do not pay for their solution
_MAX_PROFILES = 4096  # of the dense alpha-Rank chain: 128 MiB


@dataclass(frozen=True)
class MetaStrategy:
    """One mixture per population (a single one in a symmetric game), over all its policies, zero weights included.

    ``values``: expected return of each player when all play it. ``exploitability``: what one player gains on
    average by deviating to the best policy of its population (NashConv / players; in zero-sum games 0 at a Nash
    equilibrium only).
    """

    weights: tuple[Mapping[str, float], ...]
    values: tuple[float, ...]
    exploitability: float

    @property
    def value(self) -> float:
        """Expected return of player 0."""
        return self.values[0]

    def mixture(self, player: int = 0) -> Mapping[str, float]:
        """What ``player`` plays."""
        return self.weights[player if len(self.weights) > 1 else 0]

    def support(self, player: int = 0) -> dict[str, float]:
        """The policies that ``player`` plays at all, heaviest first, older first among equals."""
        played = [(program_id, weight) for program_id, weight in self.mixture(player).items() if weight > 0]
        return dict(sorted(played, key=lambda item: -item[1]))


MetaSolver = Callable[[EmpiricalGame], MetaStrategy]


@dataclass(frozen=True)
class _Normal:
    """A normal form with payoffs of span at most 1: one tensor per population (symmetric: of the row player only)."""

    tensors: tuple[FloatArray, ...]
    symmetric: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.tensors[0].shape[: len(self.tensors)]

    def deviations(self, mixtures: Sequence[FloatArray]) -> list[FloatArray]:
        """Per population, the return of each of its policies when everybody else plays ``mixtures``."""
        if self.symmetric:
            return [self.tensors[0] @ mixtures[0]]
        returns = []
        for player, tensor in enumerate(self.tensors):
            expected = tensor
            for other in reversed(range(len(mixtures))):  # from the last axis, so that the others keep their numbers
                if other != player:
                    expected = np.tensordot(expected, mixtures[other], axes=(other, 0))
            returns.append(expected)
        return returns


Solution = list[FloatArray]


def _normal_form(game: EmpiricalGame) -> _Normal:
    missing = game.missing()
    if missing:
        raise ValueError(f"{len(missing)} profiles have no payoff yet, the first is {' vs '.join(missing[0])}")
    if not all(game.populations):
        raise ValueError("a population is empty: a meta-solver needs at least one policy for each player")
    players = range(len(game.populations))
    return _Normal(tuple(game.payoff_matrix(player) for player in players), game.symmetric)


def _meta_strategy(game: EmpiricalGame, form: _Normal, solution: Solution) -> MetaStrategy:
    """Names the weights, and evaluates them on the payoffs as they are."""
    cleaned = [np.where(x > _NEGLIGIBLE, x, 0.0) for x in solution]
    mixtures = [x / x.sum() for x in cleaned]
    deviations = form.deviations(mixtures)
    values = [float(x @ returns) for x, returns in zip(mixtures, deviations, strict=True)]
    gains = [float(returns.max()) - value for returns, value in zip(deviations, values, strict=True)]
    weights = tuple(dict(zip(ids, x.tolist(), strict=True)) for ids, x in zip(game.populations, mixtures, strict=True))
    per_player = tuple(values) * (2 if game.symmetric else 1)
    return MetaStrategy(weights, per_player, max(0.0, sum(gains) / len(gains)))


def _solved(game: EmpiricalGame, solve: Callable[[_Normal], Solution]) -> MetaStrategy:
    """Solves the game of payoff classes, scaled to span 1, and splits each class's weight evenly."""
    form = _normal_form(game)
    classes = [game.payoff_classes(player) for player in range(len(game.populations))]
    first = [[members[0] for members in groups] for groups in classes]
    seats = first * 2 if form.symmetric else first
    merged = [tensor[np.ix_(*seats)] for tensor in form.tensors]
    spans = [float(np.ptp(tensor)) or 1.0 for tensor in merged]
    scaled = tuple(tensor / span for tensor, span in zip(merged, spans, strict=True))
    solution = []
    for x, groups, ids in zip(solve(_Normal(scaled, form.symmetric)), classes, game.populations, strict=True):
        whole = np.zeros(len(ids))
        for weight, members in zip(x, groups, strict=True):
            whole[members] = weight / len(members)
        solution.append(whole)
    return _meta_strategy(game, form, solution)


def _uniform(sizes: Sequence[int]) -> Solution:
    return [np.full(n, 1.0 / n) for n in sizes]


# -- equilibrium ----------------------------------------------------------------------------------------------


def nash(game: EmpiricalGame) -> MetaStrategy:
    """Nash equilibrium of a two-player zero-sum game, by linear programming (von Neumann's minimax theorem).

    Where there are several, and at most 50 policies, it is the one that spreads its weight most (least Euclidean
    norm, so greatest Rényi-2 entropy): a choice that does not depend on the order of the policies.
    Raises ``ValueError`` for any other kind of game.
    """
    if game.utility != "zero_sum" or game.num_players != 2:
        kind = f"a {game.utility} game of {game.num_players} players"
        raise ValueError(f"nash solves two-player zero-sum games, not {kind}: use regret_matching or alpha_rank")

    def solve(form: _Normal) -> Solution:
        matrix = form.tensors[0]
        return [_maximin(matrix)] if form.symmetric else [_maximin(matrix), _maximin(-matrix.T)]

    return _solved(game, solve)


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
    value = float((vertex @ matrix).min()) - _NEGLIGIBLE
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
    return x if (x @ matrix).min() >= value - 10 * _NEGLIGIBLE else vertex


# -- learning dynamics ----------------------------------------------------------------------------------------


def regret_matching(game: EmpiricalGame) -> MetaStrategy:
    """Regret matching+ in self-play, all players at once, average weighted by time (Tammelin 2014; Hart & Mas-Colell
    2000): 10,000 rounds."""
    return _solved(game, _regret_matching)


def _regret_matching(form: _Normal, rounds: int = 10_000) -> Solution:
    regrets = [np.zeros(n) for n in form.sizes]
    current = _uniform(form.sizes)
    total = [np.zeros(n) for n in form.sizes]
    for t in range(1, rounds + 1):
        for k, returns in enumerate(form.deviations(current)):
            total[k] += t * current[k]
            regrets[k] = np.maximum(regrets[k] + returns - current[k] @ returns, 0.0)
        current = [r / r.sum() if r.any() else u for r, u in zip(regrets, _uniform(form.sizes), strict=True)]
    return [x / x.sum() for x in total]


def fictitious_play(game: EmpiricalGame) -> MetaStrategy:
    """Each player answers the others' averages, all at once (Brown 1951): 10,000 rounds from the uniform mixture.

    Equally good answers share the move, so that the result does not depend on the order of the policies."""
    return _solved(game, _fictitious_play)


def _fictitious_play(form: _Normal, rounds: int = 10_000) -> Solution:
    average = _uniform(form.sizes)
    for t in range(1, rounds + 1):
        answers = [returns >= returns.max() - _NEGLIGIBLE for returns in form.deviations(average)]
        average = [x + (best / best.sum() - x) / (t + 1) for x, best in zip(average, answers, strict=True)]
    return average


def replicator_dynamics(game: EmpiricalGame) -> MetaStrategy:
    """Time average of the replicator dynamics from the uniform mixture (Taylor & Jonker 1978), to time 2000 in units
    of one over the payoff span.

    Integrated by the midpoint rule in logarithms of the weights, where dx_i/dt = x_i (u_i - u.x) reads dy_i/dt = u_i,
    x = softmax(y): it cannot leave the simplex."""
    return _solved(game, _replicator_dynamics)


def _softmax(y: FloatArray) -> FloatArray:
    e = np.exp(y - y.max())
    weights: FloatArray = e / e.sum()
    return weights


def _replicator_dynamics(form: _Normal, step: float = 0.2, steps: int = 10_000) -> Solution:
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
    return _solved(game, _projected_replicator_dynamics)


def _projected_replicator_dynamics(
    form: _Normal, exploration: float = 0.05, step: float = 0.1, steps: int = 10_000
) -> Solution:
    current = _uniform(form.sizes)
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


# -- evolution ------------------------------------------------------------------------------------------------


def alpha_rank(game: EmpiricalGame) -> MetaStrategy:
    """Masses of alpha-Rank in the limit of infinite selection (Omidshafiei et al. 2019), per population.

    The chain moves between profiles that differ in one player's policy (symmetric: between policies), to the better one
    with probability 1 - 1e-4 and to the worse one with 1e-4, so that it has one stationary distribution; its marginals
    are the weights. Raises ``ValueError`` beyond 4096 profiles.
    """

    def solve(form: _Normal) -> Solution:
        shape = form.sizes
        if np.prod(shape) > _MAX_PROFILES:
            raise ValueError(f"alpha_rank takes up to {_MAX_PROFILES} profiles, not {np.prod(shape)}")
        masses = _stationary(_transitions(form)).reshape(shape)
        everyone = range(len(shape))
        return [masses.sum(axis=tuple(q for q in everyone if q != player)) for player in everyone]

    return _solved(game, solve)


def _transitions(form: _Normal, mutation: float = 1e-4) -> FloatArray:
    """Row-stochastic, shape (profiles, profiles)."""

    def fixation(gain: FloatArray) -> FloatArray:
        equal = np.abs(gain) <= _NEGLIGIBLE
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
    form = _normal_form(game)
    return _meta_strategy(game, form, _uniform([len(ids) for ids in game.populations]))


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
