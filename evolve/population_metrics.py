"""PopReturn, PopExpl and AggScore of an agent against a fixed population (Lanctot et al. 2023, arXiv:2303.03196).

With u_j the agent's expected return against bot j of a population of J:

* PopReturn = (1/J) sum_j u_j
* PopExpl   = max_j (-u_j), what the worst opponent (the nemesis) takes from the agent; negative for one that beats all
* AggScore  = PopReturn - PopExpl

The plain PopExpl of sample means is a maximum of noisy numbers and so biased upward: about 57 points for a
uniform player of 1000-round rock-paper-scissors at 1 match per bot, 5.7 at 100. The split-half PopExpl picks the
nemesis on one half of the matches and scores it on the other, both ways round; its expectation never exceeds the
truth. Neither means anything without ``matches_per_bot``.

Everything here is arithmetic on returns of matches that were played elsewhere. An agent is one stratum per bot; a
mixture is one stratum per member and bot, weighted by the mixture, which estimates the same value as drawing
a fresh member for each match, with less noise. :func:`drawn_metrics` has the mixture play as one player would, a member
drawn for each match, out of the matches that its members have played.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evolve.scoring import OpponentReturn
from games.core import FloatArray


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; ``stderr`` is NaN where one match per stratum says nothing of the spread."""

    value: float
    stderr: float


@dataclass(frozen=True)
class PopulationMetrics:
    """One agent, or one mixture, against a population.

    ``pop_expl`` and ``agg_score`` are the split-half estimates, ``None`` where some stratum has fewer than two matches;
    ``*_naive`` are the plain ones, whose stderr leaves the choice of the nemesis out of account.
    ``matches_per_bot`` is the smallest number of matches against any bot (0: exact values, no matches).
    """

    pop_return: Estimate
    pop_expl: Estimate | None
    agg_score: Estimate | None
    pop_expl_naive: Estimate
    agg_score_naive: Estimate
    nemesis: str
    matches_per_bot: int
    by_opponent: Mapping[str, OpponentReturn]

    def to_json(self) -> dict[str, object]:
        """Plain values and one ``_stderr`` key each, ``null`` for what is unknown; ``by_opponent`` by name."""
        record: dict[str, object] = {}
        for name in ("pop_return", "pop_expl", "agg_score", "pop_expl_naive", "agg_score_naive"):
            estimate: Estimate | None = getattr(self, name)
            record[name] = None if estimate is None else estimate.value
            record[f"{name}_stderr"] = None if estimate is None else _finite(estimate.stderr)
        record |= {"nemesis": self.nemesis, "matches_per_bot": self.matches_per_bot}
        record["by_opponent"] = {
            name: {"mean": r.mean, "stderr": _finite(r.stderr), "matches": r.matches, "forfeits": r.forfeits}
            for name, r in self.by_opponent.items()
        }
        return record


@dataclass(frozen=True)
class _Stratum:
    """Matches of one member (of weight ``weight``) against one bot, in the order they were played."""

    weight: float
    returns: FloatArray

    @property
    def variance(self) -> float:
        """Of one match. NaN for a single one."""
        return float(self.returns.var(ddof=1)) if len(self.returns) > 1 else math.nan

    @property
    def halves(self) -> tuple[FloatArray, FloatArray]:
        # Not odd and even: seats may alternate from match to match.
        middle = len(self.returns) // 2
        return self.returns[:middle], self.returns[middle:]


_Cells = Mapping[str, Sequence[_Stratum]]


def population_metrics(
    returns: Mapping[str, ArrayLike], forfeits: Mapping[str, int] | None = None
) -> PopulationMetrics:
    """Metrics of one agent from ``returns[bot]``, its returns in each match against that bot, shape ``(n,)``.

    ``forfeits[bot]`` counts matches the bot lost by failing. Raises ``ValueError`` for an empty population or
    a bot without matches, or returns that are not finite.
    """
    cells = {bot: [_Stratum(1.0, _returns(bot, values))] for bot, values in returns.items()}
    return _metrics(cells, forfeits or {})


def mixture_metrics(
    returns: Mapping[str, Mapping[str, ArrayLike]],
    weights: Mapping[str, float],
    forfeits: Mapping[str, int] | None = None,
) -> PopulationMetrics:
    """Metrics of the mixture that plays member k with probability ``weights[k]``, drawn afresh for each match.

    ``returns[member][bot]`` has shape ``(n,)``; members of weight 0 may be missing. Raises ``ValueError`` as
    :func:`population_metrics`, or if weights do not add to 1, or a member lacks a bot that another has met.
    """
    support = {member: weight for member, weight in weights.items() if weight != 0}
    if any(weight < 0 for weight in support.values()) or not math.isclose(sum(support.values()), 1.0, abs_tol=1e-6):
        raise ValueError(f"mixture weights must be non-negative and add to 1, not {dict(weights)}")
    if missing := [member for member in support if member not in returns]:
        raise ValueError(f"no returns of {missing[0]}, which has weight {support[missing[0]]:g}")
    bots = {bot: None for member in support for bot in returns[member]}
    cells: dict[str, list[_Stratum]] = {bot: [] for bot in bots}
    for member, weight in support.items():
        for bot in bots:
            if bot not in returns[member]:
                raise ValueError(f"{member} has not met {bot}")
            cells[bot].append(_Stratum(weight, _returns(bot, returns[member][bot])))
    return _metrics(cells, forfeits or {})


def drawn_metrics(
    returns: Mapping[str, Mapping[str, ArrayLike]], weights: Mapping[str, float], rng: np.random.Generator
) -> PopulationMetrics:
    """Metrics of the mixture as a player of its own, with as many matches per bot as each member has played.

    Match k against a bot is the k-th match of a member that is drawn for it with probability ``weights[member]``, so no
    match is used twice and the matches are independent. Arguments and errors are those of :func:`mixture_metrics`.
    """
    mixture_metrics(returns, weights)  # the same errors
    support = [member for member, weight in weights.items() if weight != 0]
    chances = np.array([weights[member] for member in support])
    drawn: dict[str, FloatArray] = {}
    for bot in returns[support[0]]:
        played = [_returns(bot, returns[member][bot]) for member in support]
        matches = np.arange(min(map(len, played)))
        table = np.array([values[: len(matches)] for values in played])
        drawn[bot] = table[rng.choice(len(support), len(matches), p=chances / chances.sum()), matches]
    return population_metrics(drawn)


def exact_metrics(values: Mapping[str, float]) -> PopulationMetrics:
    """Metrics from exact expected returns per bot: no noise, no matches, split-half and plain alike."""
    if not values:
        raise ValueError("the population is empty")
    pop_return = Estimate(sum(values.values()) / len(values), 0.0)
    nemesis = min(values, key=lambda bot: values[bot])
    expl = Estimate(0.0 - values[nemesis], 0.0)  # not -0.0, which would be printed so
    agg = Estimate(pop_return.value - expl.value, 0.0)
    by_opponent = {bot: OpponentReturn(value, 0.0, 0) for bot, value in values.items()}
    return PopulationMetrics(pop_return, expl, agg, expl, agg, nemesis, 0, by_opponent)


def _returns(bot: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"returns against {bot} must be a list of at least one match, not shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"returns against {bot} must be finite numbers")
    return array


def _metrics(cells: _Cells, forfeits: Mapping[str, int]) -> PopulationMetrics:
    if not cells:
        raise ValueError("the population is empty")
    if unknown := [bot for bot in forfeits if bot not in cells]:
        raise ValueError(f"forfeits of {unknown[0]}, which has no returns")
    by_opponent = {bot: _opponent_return(strata, forfeits.get(bot, 0)) for bot, strata in cells.items()}
    means = np.array([r.mean for r in by_opponent.values()])
    variances = np.array([r.stderr**2 for r in by_opponent.values()])
    share = np.full(len(cells), 1.0 / len(cells))
    nemesis = int(means.argmin())
    worst = np.zeros(len(cells))
    worst[nemesis] = -1.0
    expl_split, agg_split = _split_half(cells)
    return PopulationMetrics(
        pop_return=_linear(share, means, variances),
        pop_expl_naive=_linear(worst, means, variances),
        agg_score_naive=_linear(share - worst, means, variances),
        pop_expl=expl_split,
        agg_score=agg_split,
        nemesis=list(cells)[nemesis],
        matches_per_bot=min(r.matches for r in by_opponent.values()),
        by_opponent=by_opponent,
    )


def _opponent_return(strata: Sequence[_Stratum], forfeits: int) -> OpponentReturn:
    mean = sum(s.weight * float(s.returns.mean()) for s in strata)
    variance = sum(s.weight**2 * s.variance / len(s.returns) for s in strata)
    return OpponentReturn(mean, math.sqrt(variance), sum(len(s.returns) for s in strata), forfeits)


def _split_half(cells: _Cells) -> tuple[Estimate, Estimate] | tuple[None, None]:
    """PopExpl and AggScore with the nemesis chosen on one half of every stratum and scored on the other."""
    if any(len(s.returns) < 2 for strata in cells.values() for s in strata):
        return None, None
    count = len(cells)
    means, variances = np.zeros((2, count)), np.zeros((2, count))
    for j, strata in enumerate(cells.values()):
        for stratum in strata:
            for half, returns in enumerate(stratum.halves):
                means[half, j] += stratum.weight * returns.mean()
                variances[half, j] += stratum.weight**2 * stratum.variance / len(returns)
    worst = np.zeros((2, count))
    worst[1, means[0].argmin()] -= 0.5
    worst[0, means[1].argmin()] -= 0.5
    share = np.full((2, count), 0.5 / count)
    return _linear(worst, means, variances), _linear(share - worst, means, variances)


def _linear(coefficients: FloatArray, means: FloatArray, variances: FloatArray) -> Estimate:
    """The estimate of a linear combination of independent means; a zero coefficient takes no part, even of NaN."""
    used = coefficients != 0
    stderr = math.sqrt(float((coefficients[used] ** 2 * variances[used]).sum()))
    return Estimate(float((coefficients[used] * means[used]).sum()), stderr)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class SeedSummary:
    """One figure over independent runs: mean, standard error of the mean (NaN for one run), largest and smallest."""

    mean: float
    stderr: float
    maximum: float
    minimum: float
    seeds: int


def over_seeds(values: Sequence[float]) -> SeedSummary:
    """Summary of one figure's values, one per seed, as the paper's tables print it. Raises ``ValueError`` if empty."""
    if not values:
        raise ValueError("no seeds to summarise")
    array = np.asarray(values, dtype=np.float64)
    stderr = float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else math.nan
    return SeedSummary(float(array.mean()), stderr, float(array.max()), float(array.min()), len(array))
