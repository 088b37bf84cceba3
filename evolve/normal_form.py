"""What meta-solvers work on and what they return: the normal form of an empirical game, and a meta-strategy.

:func:`solved` takes a solver's mathematics, a function from a normal form to one mixture per population, and does the
rest: payoff-identical policies become one, payoffs get span 1, the answer is named and evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from evolve.empirical_game import EmpiricalGame
from games.core import FloatArray

NEGLIGIBLE = 1e-12  # of the payoff span
_LEAST_WEIGHT = 1e-9  # of the heaviest; what rounding leaves on unplayed policies is below 1e-10


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
Solution = list[FloatArray]


@dataclass(frozen=True)
class NormalForm:
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
        for player, expected in enumerate(self._own_axis_first):
            for mixture in reversed([*mixtures[:player], *mixtures[player + 1 :]]):
                expected = expected @ mixture  # noqa: PLW2901  the last axis goes
            returns.append(expected)
        return returns

    @cached_property
    def _own_axis_first(self) -> list[FloatArray]:
        """Products over the last axis are several times as fast as over a middle one, and dynamics make 10,000s."""
        return [np.ascontiguousarray(np.moveaxis(tensor, player, 0)) for player, tensor in enumerate(self.tensors)]


def normal_form(game: EmpiricalGame) -> NormalForm:
    missing = game.missing()
    if missing:
        raise ValueError(f"{len(missing)} profiles have no payoff yet, the first is {' vs '.join(missing[0])}")
    if not all(game.populations):
        raise ValueError("a population is empty: a meta-solver needs at least one policy for each player")
    players = range(len(game.populations))
    return NormalForm(tuple(game.payoff_matrix(player) for player in players), game.symmetric)


def meta_strategy(game: EmpiricalGame, form: NormalForm, mixtures: Solution) -> MetaStrategy:
    """Names the weights, and evaluates them on the payoffs as they are."""
    deviations = form.deviations(mixtures)
    values = [float(x @ returns) for x, returns in zip(mixtures, deviations, strict=True)]
    gains = [float(returns.max()) - value for returns, value in zip(deviations, values, strict=True)]
    weights = tuple(dict(zip(ids, x.tolist(), strict=True)) for ids, x in zip(game.populations, mixtures, strict=True))
    per_player = tuple(values) * (2 if game.symmetric else 1)
    return MetaStrategy(weights, per_player, max(0.0, sum(gains) / len(gains)))


def solved(
    game: EmpiricalGame, solve: Callable[[NormalForm], Solution], least_weight: float = _LEAST_WEIGHT
) -> MetaStrategy:
    """Solves the game of payoff classes, scaled to span 1, and splits each class's weight evenly.

    Classes lighter than ``least_weight`` times the heaviest are not played: every policy with a weight costs matches.
    """
    form = normal_form(game)
    classes = [game.payoff_classes(player) for player in range(len(game.populations))]
    first = [[members[0] for members in groups] for groups in classes]
    seats = first * 2 if form.symmetric else first
    merged = [tensor[np.ix_(*seats)] for tensor in form.tensors]
    spans = [float(np.ptp(tensor)) or 1.0 for tensor in merged]
    scaled = tuple(tensor / span for tensor, span in zip(merged, spans, strict=True))
    solution = []
    for x, groups, ids in zip(solve(NormalForm(scaled, form.symmetric)), classes, game.populations, strict=True):
        whole = np.zeros(len(ids))
        played = np.where(x >= least_weight * x.max(), x, 0.0)
        for weight, members in zip(played / played.sum(), groups, strict=True):
            whole[members] = weight / len(members)
        solution.append(whole)
    return meta_strategy(game, form, solution)


def uniform_mixtures(sizes: Sequence[int]) -> Solution:
    return [np.full(n, 1.0 / n) for n in sizes]
