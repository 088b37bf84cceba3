"""What a program did in its first matches, as a name and as numbers: for telling copies apart and for MAP-Elites.

All candidates of a task meet the same seeds, so two programs that make the same decisions make the same moves there.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sandbox.referee import MatchRecord

PROBE_MATCHES = 2
"""Matches per opponent that tell a behaviour, one from each seat where seats are swapped."""

LEAST_MOVES = 50
"""Fewer moves than these could agree by chance, so they name no behaviour."""


@dataclass(frozen=True)
class Probe:
    """One match, and the seat that the program had in it."""

    record: MatchRecord
    seat: int

    def moves(self) -> list[int]:
        actions = self.record.actions
        if isinstance(actions, np.ndarray):
            return [int(action) for action in actions[:, self.seat]]
        return [action for player, action in actions if player == self.seat]


def fingerprint(probes: Mapping[str, Sequence[Probe]]) -> str:
    """Names the moves made against each opponent; ``""`` where there are too few to tell programs apart."""
    moves = [(opponent, [probe.moves() for probe in probes[opponent]]) for opponent in sorted(probes)]
    if sum(len(match) for _, matches in moves for match in matches) < LEAST_MOVES:
        return ""
    return "moves-" + hashlib.sha256(repr(moves).encode()).hexdigest()[:16]


def traits(probes: Mapping[str, Sequence[Probe]], num_actions: int) -> tuple[float, float]:
    """How evenly a program uses its actions (entropy over its largest possible value) and how often its move differs
    from the one before; 0 where it made none."""
    matches = [probe.moves() for of_opponent in probes.values() for probe in of_opponent]
    counts = Counter(move for match in matches for move in match)
    total = counts.total()
    if not total or num_actions < 2:
        return 0.0, 0.0
    entropy = -sum(count / total * math.log(count / total) for count in counts.values()) / math.log(num_actions)
    steps = sum(max(0, len(match) - 1) for match in matches)
    switches = sum(one != other for match in matches for one, other in pairwise(match))
    return min(1.0, max(0.0, entropy)), switches / steps if steps else 0.0
