"""Exact returns of policies that do the same whenever they see the same: no matches, no noise.

A game that can do this lists its decision points, the observations that differ in what matters, and computes returns
from one distribution per point. A policy is asked at every point twice, in another order, with another seed and with
other values of what does not matter (which hand it is, how the last one went); if an answer differs, it has memory or
draws its own random numbers, and only matches can score it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from games.core import FloatArray, Game, Move, Observation, PolicyFactory
from games.match import move_distribution

Ask = Callable[[Sequence[Observation], int], Sequence[object]]
"""``(observations, seed) -> moves`` of one fresh policy, asked in order."""


@runtime_checkable
class StationaryGame(Game, Protocol):
    """A game with exact returns for stationary policies."""

    def decision_points(self, player: int, rng: np.random.Generator | None = None) -> tuple[Observation, ...]:
        """What ``player`` may have to decide, always in the same order; ``rng`` varies what does not matter."""
        ...

    def stationary_returns(self, profile: Sequence[FloatArray]) -> FloatArray:
        """Exact returns ``(num_players,)``; ``profile[i]`` is player i's table ``(points, num_actions)``."""
        ...


@runtime_checkable
class SolvableGame(StationaryGame, Protocol):
    """One whose profiles of stationary policies, or of mixtures of them, also have an exact NashConv."""

    def mixed(self, player: int, tables: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
        """The table that plays as the mixture does."""
        ...

    def nash_conv(self, profile: Sequence[FloatArray]) -> float:
        """What all players together would gain by best responses to ``profile``, a table for each."""
        ...


def stationary_table(game: StationaryGame, ask: Ask, player: int, seed: int = 0) -> FloatArray | None:
    """The policy as a table ``(points, num_actions)``, or ``None`` if its answers depend on more than the point.

    Raises :class:`games.match.IllegalMoveError` for an illegal move.
    """
    rng = np.random.default_rng(seed)
    points = game.decision_points(player)
    table = _table(game, points, ask(points, seed))
    order = rng.permutation(len(points))
    varied = game.decision_points(player, rng)
    again = _table(game, [varied[i] for i in order], ask([varied[i] for i in order], seed + 1))
    return table if np.array_equal(table[order], again) else None


def _table(game: Game, points: Sequence[Observation], moves: Sequence[object]) -> FloatArray:
    actions = game.spec.num_actions
    rows = [
        move_distribution(move, actions, point.get("legal_actions"))  # type: ignore[arg-type]
        for point, move in zip(points, moves, strict=True)
    ]
    return np.array(rows, dtype=np.float64)


def asker(factory: PolicyFactory, player: int) -> Ask:
    """Asks a trusted policy in this process."""

    def ask(observations: Sequence[Observation], seed: int) -> list[Move]:
        policy = factory(player, seed)
        return [policy.act(observation) for observation in observations]

    return ask


def exact_population_returns(
    game: StationaryGame, ask_as: Callable[[int], Ask], seats: Sequence[int]
) -> dict[str, float] | None:
    """Exact return against each reference policy in all other seats, averaged over ``seats``, or ``None`` if some table
    is missing.

    ``ask_as(seat)`` asks the policy in that seat. Raises as :func:`stationary_table`.
    """
    own: dict[int, FloatArray] = {}
    for seat in seats:
        table = stationary_table(game, ask_as(seat), seat)
        if table is None:
            return None
        own[seat] = table
    values: dict[str, float] = {}
    for name, factory in game.reference_population().items():
        theirs: list[FloatArray] = []
        for seat in range(game.spec.num_players):
            table = stationary_table(game, asker(factory, seat), seat)
            if table is None:
                return None
            theirs.append(table)
        returns = [game.stationary_returns([*theirs[:s], own[s], *theirs[s + 1 :]])[s] for s in seats]
        values[name] = float(sum(returns)) / len(returns)
    return values
