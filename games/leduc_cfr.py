"""CFR+ on one hand of Leduc hold'em: a Nash equilibrium strategy, and exact values of strategies against each other.

CFR+ is regret matching+ with alternating updates and linearly weighted averages (Tammelin et al. 2015). Suits never
matter, so information sets go by ranks; all private cards and public cards of a betting node are updated at once.
A strategy is a table from :func:`games.leduc.infoset_key` to three probabilities, for both positions together.

The solution is kept in ``leduc_cfr_plus.json``, so that every machine measures against the same policy at once;
``python -m games.leduc_cfr`` computes it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from games.core import FloatArray
from games.leduc import NUM_ACTIONS, NUM_RANKS, Betting, LeducHand, infoset_key, showdown_sign

Table = Mapping[str, Sequence[float]]

ITERATIONS = 10_000
"""As in the CSRO paper; the strategy is then exploitable by 0.000006 chips a hand."""

_FILE = Path(__file__).with_name("leduc_cfr_plus.json")


@dataclass
class _Node:
    """One betting sequence: terminal (``payoff`` set) or a decision; ``turns_card`` where it opens the second round.

    ``payoff`` is position 0's chips times the probability of the cards, shape ``(P, rank 0, rank 1)``. Arrays of
    the first round have P = 1, of the second one row per public rank.
    """

    betting: Betting
    actor: int = 0
    payoff: FloatArray | None = None
    children: dict[int, _Node] = field(default_factory=dict)
    turns_card: bool = False
    regret: FloatArray = field(default_factory=lambda: np.zeros(0))
    average: FloatArray = field(default_factory=lambda: np.zeros(0))

    @property
    def legal(self) -> list[int]:
        return list(self.children)

    def strategy(self) -> FloatArray:
        """Regret matching+ over the legal actions, shape ``(P, rank, legal)``."""
        return _normalised(self.regret)

    def public_rank(self, row: int) -> int | None:
        return row if len(self.betting) == 2 else None


def _normalised(weights: FloatArray) -> FloatArray:
    total = weights.sum(axis=2, keepdims=True)
    uniform: FloatArray = np.full_like(weights, 1.0 / weights.shape[2])
    np.divide(weights, total, out=uniform, where=total > 0)
    return uniform


@cache
def _card_probability() -> FloatArray:
    """Probability of ranks (public, private 0, private 1), shape (3, 3, 3)."""
    weights = np.zeros((NUM_RANKS,) * 3)
    for public, first, second in np.ndindex(weights.shape):
        left = [2] * NUM_RANKS
        weight = 1
        for drawn in (public, first, second):
            weight *= left[drawn]
            left[drawn] -= 1
        weights[public, first, second] = weight / 120
    return weights


def _terminal(hand: LeducHand) -> FloatArray:
    cards = _card_probability()
    if len(hand.rounds) == 1:
        cards = cards.sum(axis=0, keepdims=True)
    if not hand.showdown:
        return cards * hand.payoff()
    signs = np.array([showdown_sign(a, b, c) for c, a, b in np.ndindex(cards.shape)]).reshape(cards.shape)
    payoff: FloatArray = cards * signs * hand.chips[0]
    return payoff


def _tree() -> _Node:
    def grow(path: tuple[int, ...], rounds: int) -> _Node:
        hand = LeducHand((0, 2), 4)
        for action in path:
            hand.step(action)
        if hand.over:
            return _Node(hand.betting, payoff=_terminal(hand))
        node = _Node(hand.betting, hand.actor, turns_card=len(hand.rounds) > rounds)
        node.children = {action: grow((*path, action), len(hand.rounds)) for action in hand.legal_actions()}
        shape = (1 if len(hand.rounds) == 1 else NUM_RANKS, NUM_RANKS, len(node.children))
        node.regret, node.average = np.zeros(shape), np.zeros(shape)
        return node

    return grow((), 1)


def _update(node: _Node, player: int, own: FloatArray, other: FloatArray, weight: float) -> FloatArray:
    """Counterfactual values ``(P, rank)`` of ``player`` below ``node``; updates its regrets and averages on the way.

    ``own`` and ``other`` are the probabilities with which the two have played to this node, by rank.
    """
    if node.turns_card:
        own, other = np.broadcast_to(own, (NUM_RANKS,) * 2), np.broadcast_to(other, (NUM_RANKS,) * 2)
    if node.payoff is not None:
        chips = node.payoff if player == 0 else -node.payoff.transpose(0, 2, 1)
        return (chips @ other[..., None])[..., 0]
    strategy = node.strategy()
    children = node.children.values()
    if node.actor != player:
        parts = [_update(c, player, own, other * strategy[..., i], weight) for i, c in enumerate(children)]
        values: FloatArray = np.sum(parts, axis=0)
    else:
        parts = [_update(c, player, own * strategy[..., i], other, weight) for i, c in enumerate(children)]
        by_action = np.stack(parts, axis=-1)
        values = (by_action * strategy).sum(axis=-1)
        np.maximum(node.regret + by_action - values[..., None], 0.0, out=node.regret)
        node.average += weight * own[..., None] * strategy
    return values.sum(axis=0, keepdims=True) if node.turns_card else values


def solve(iterations: int) -> dict[str, list[float]]:
    """The average strategy of CFR+ after ``iterations`` updates of each position."""
    root = _tree()
    start = np.ones((1, NUM_RANKS))
    for iteration in range(1, iterations + 1):
        for player in (0, 1):
            _update(root, player, start, start, float(iteration))
    table: dict[str, list[float]] = {}
    _collect(root, table)
    return table


def _collect(node: _Node, table: dict[str, list[float]]) -> None:
    if node.payoff is not None:
        return
    average = _normalised(node.average)
    for row, own in np.ndindex(average.shape[:2]):
        probabilities = [0.0] * NUM_ACTIONS
        for index, action in enumerate(node.legal):
            probabilities[action] = float(average[row, own, index])
        table[infoset_key(own, node.public_rank(row), node.betting)] = probabilities
    for child in node.children.values():
        _collect(child, table)


def hand_value(first: Table, second: Table) -> float:
    """Exact expected chips a hand of ``first`` in position 0 against ``second`` in position 1."""
    tables = (first, second)

    def value(node: _Node, reach: tuple[FloatArray, FloatArray]) -> float:
        if node.turns_card:
            reach = tuple(np.broadcast_to(r, (NUM_RANKS,) * 2) for r in reach)  # type: ignore[assignment]
        if node.payoff is not None:
            return float((node.payoff * reach[0][:, :, None] * reach[1][:, None, :]).sum())
        table = tables[node.actor]
        rows = range(1 if len(node.betting) == 1 else NUM_RANKS)
        played = np.array(
            [[table[infoset_key(own, node.public_rank(r), node.betting)] for own in range(NUM_RANKS)] for r in rows]
        )
        total = 0.0
        for action, child in node.children.items():
            shares = list(reach)
            shares[node.actor] = shares[node.actor] * played[..., action]
            total += value(child, (shares[0], shares[1]))
        return total

    start = np.ones((1, NUM_RANKS))
    return value(_tree(), (start, start))


@cache
def cfr_plus() -> Table:
    """The strategy after :data:`ITERATIONS` iterations, from the file beside this module."""
    table: dict[str, list[float]] = json.loads(_FILE.read_text(encoding="ascii"))
    return table


def write_table() -> None:
    """Computes the strategy afresh and writes the file that :func:`cfr_plus` reads (a minute or two)."""
    lines = [f"{json.dumps(key)}: {json.dumps(row)}" for key, row in solve(ITERATIONS).items()]
    _FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="ascii")


if __name__ == "__main__":
    write_table()
