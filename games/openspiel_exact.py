"""Small OpenSpiel games, where policies without memory have exact returns, and profiles of them an exact NashConv.

The tree is walked once. A player's decision points are its information states in the order of that walk; its policy is
a table with one row of action probabilities for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from games.core import FloatArray, Observation
from games.openspiel import OpenSpielGame, observe

MAX_STATES = 2000


@dataclass(frozen=True)
class _Node:
    """A terminal state (``returns`` set), chance (``player`` -1) or a decision at the player's point number ``point``.

    ``children`` are (probability by chance, action, node)."""

    player: int
    point: int
    children: tuple[tuple[float, int, _Node], ...]
    returns: FloatArray | None = None


@dataclass(frozen=True)
class _Point:
    """An information state: what is seen there, and the player's own (point, action) pairs on the way to it."""

    text: str
    observation: Observation
    own: tuple[tuple[int, int], ...]


@dataclass
class _Walk:
    """Points by player, as they are met."""

    points: list[dict[str, _Point]]


class SmallOpenSpielGame(OpenSpielGame):
    """A :class:`games.stationary.SolvableGame`: sequential, with information states, of at most 2000 states."""

    def decision_points(self, player: int, rng: np.random.Generator | None = None) -> tuple[Observation, ...]:
        """The player's information states; nothing but them is in an observation, so ``rng`` varies nothing."""
        return tuple(point.observation for point in self._points[player])

    def stationary_returns(self, profile: Sequence[FloatArray]) -> FloatArray:
        """Exact returns ``(num_players,)`` of tables ``(points, num_actions)``, one per player."""

        def value(node: _Node) -> FloatArray:
            if node.returns is not None:
                return node.returns
            total = np.zeros(self.game.num_players())
            for chance, action, child in node.children:
                weight = chance if node.player < 0 else profile[node.player][node.point, action]
                if weight > 0:
                    total += weight * value(child)
            return total

        return value(self._root)

    def mixed(self, player: int, tables: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
        """One table that plays as the mixture does: rows weighted by the probability that the policy plays to them
        (Kuhn 1953). The first table stands where no policy of the mixture comes."""
        reach = np.array(
            [[np.prod([table[step] for step in point.own]) for point in self._points[player]] for table in tables]
        )
        shares = np.asarray(weights)[:, None] * reach
        total = shares.sum(axis=0)
        shares = np.where(total > 0, shares / np.where(total > 0, total, 1.0), np.eye(len(tables))[0][:, None])
        mixture: FloatArray = np.einsum("kp,kpa->pa", shares, np.array(tables))
        return mixture

    def nash_conv(self, profile: Sequence[FloatArray]) -> float:
        """What all players together would gain by best responses (Lanctot et al. 2017): 0 at a Nash equilibrium."""
        from open_spiel.python import policy
        from open_spiel.python.algorithms import exploitability

        tabular = policy.TabularPolicy(self.game)
        for points, table in zip(self._points, profile, strict=True):
            for point, row in zip(points, table, strict=True):
                tabular.action_probability_array[tabular.state_lookup[point.text]] = row
        return float(exploitability.nash_conv(self.game, tabular))

    # -- the tree ---------------------------------------------------------------------------------------------------

    @property
    def _points(self) -> list[list[_Point]]:
        return self._tree[1]

    @property
    def _root(self) -> _Node:
        return self._tree[0]

    @cached_property
    def _tree(self) -> tuple[_Node, list[list[_Point]]]:
        walk = _Walk([{} for _ in range(self.game.num_players())])
        root = self._node(self.game.new_initial_state(), walk, [()] * self.game.num_players())
        return root, [list(points.values()) for points in walk.points]

    def _node(self, state: Any, walk: _Walk, own: list[tuple[tuple[int, int], ...]]) -> _Node:
        if state.is_terminal():
            return _Node(-1, -1, (), np.array(state.returns(), dtype=np.float64))
        if state.is_chance_node():
            outcomes = state.chance_outcomes()
            return _Node(-1, -1, tuple((p, a, self._node(state.child(a), walk, own)) for a, p in outcomes))
        player, text = state.current_player(), state.information_state_string()
        points = walk.points[player]
        if text not in points:
            points[text] = _Point(text, observe(self, state, player, [a for _, a in own[player]]), own[player])
        number = list(points).index(text)
        children = []
        for action in state.legal_actions():
            path = [*own[:player], (*own[player], (number, action)), *own[player + 1 :]]
            children.append((1.0, int(action), self._node(state.child(action), walk, path)))
        return _Node(player, number, tuple(children))


def is_small(game: OpenSpielGame) -> bool:
    """Can :class:`SmallOpenSpielGame` take it?"""
    from games.openspiel_references import has_at_most

    kind = game.game.get_type()
    exact = kind.dynamics.name == "SEQUENTIAL" and kind.provides_information_state_string
    return bool(exact) and has_at_most(game.game.new_initial_state(), MAX_STATES)
