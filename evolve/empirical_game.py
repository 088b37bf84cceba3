"""The empirical game: what each profile of policies earned, with its standard error and its number of matches.

Payoffs are data about programs, never about a mixture, so they are kept for good: a new policy adds a row, and
only its own profiles have to be played. The structure follows the meta-game of PSRO (Lanctot et al. 2017, §3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import cast, get_args

import numpy as np

from evolve.scoring import OpponentReturn
from games.core import FloatArray, GameSpec, Utility

Profile = tuple[str, ...]
"""One program id per player."""

_NOTHING = OpponentReturn(0.0, 0.0, 0)


@dataclass(frozen=True)
class EmpiricalGame:
    """Estimated returns of every profile of pooled policies. Immutable: the ``with_`` methods make new games.

    ``symmetric`` (two players): one population serves both seats; the payoff of profile (i, j) is the return of i
    against j with seats swapped between matches. If it is also zero-sum, payoffs are antisymmetric and a policy
    earns 0 against itself by definition, so that only pairs i before j are ever played. Otherwise ``populations``
    holds one sequence of ids per player and payoffs are per player.
    """

    utility: Utility
    symmetric: bool
    populations: tuple[tuple[str, ...], ...]
    payoffs: Mapping[Profile, tuple[OpponentReturn, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.utility not in get_args(Utility):
            raise ValueError(f"unknown utility {self.utility!r}: one of {', '.join(get_args(Utility))}")
        if self.symmetric and len(self.populations) != 1:
            raise ValueError(f"a symmetric game has one population, not {len(self.populations)}")
        if not self.symmetric and len(self.populations) < 2:
            raise ValueError("a game that is not symmetric has one population per player, at least two")
        for population in self.populations:
            if len(set(population)) != len(population):
                raise ValueError("a population holds each program once")

    @classmethod
    def of(cls, spec: GameSpec, populations: Sequence[Sequence[str]]) -> EmpiricalGame:
        """The game of ``spec`` without payoffs yet: one population if it is symmetric with two players, else one each.

        Raises ``ValueError`` if the number of populations is another."""
        game = cls(spec.utility, spec.swaps_seats, tuple(map(tuple, populations)))
        if game.num_players != spec.num_players:
            raise ValueError(f"{spec.name} has {spec.num_players} players, not {game.num_players} populations")
        return game

    @property
    def num_players(self) -> int:
        return 2 if self.symmetric else len(self.populations)

    @property
    def antisymmetric(self) -> bool:
        return self.symmetric and self.utility == "zero_sum"

    @property
    def seats(self) -> tuple[tuple[str, ...], ...]:
        """The population behind each player: in a symmetric game the same one twice."""
        return self.populations * 2 if self.symmetric else self.populations

    # -- growing --------------------------------------------------------------------------------------------

    def with_policy(self, program_id: str, population: int = 0) -> EmpiricalGame:
        """Adds a policy without payoffs. Raises ``ValueError`` if the population holds it already."""
        grown = tuple((*ids, program_id) if k == population else ids for k, ids in enumerate(self.populations))
        return replace(self, populations=grown)

    def played(self) -> list[Profile]:
        """Profiles known by matches, in the order of the populations: neither mirror images nor definitions."""
        return [p for p in product(*self.seats) if self._is_played(p) and p in self.payoffs]

    def missing(self) -> list[Profile]:
        """Profiles still to be played, in the order of the populations."""
        return [p for p in product(*self.seats) if self._is_played(p) and p not in self.payoffs]

    def _is_played(self, profile: Profile) -> bool:
        """Is it this profile that gets matches, rather than its mirror image or a definition?"""
        if not self.symmetric:
            return True
        first, second = (self.populations[0].index(program_id) for program_id in profile)
        return first < second or (first == second and not self.antisymmetric)

    def with_payoff(self, profile: Profile, *returns: OpponentReturn) -> EmpiricalGame:
        """Sets (or replaces) what a profile earned.

        ``returns``: one per player; or only player 0's where it fixes the other's (two-player zero-sum and
        common payoff). Raises ``KeyError`` for an id in no population, ``ValueError`` for another number of
        returns, or for a policy's return against itself in a symmetric zero-sum game.
        """
        for seat, (program_id, population) in enumerate(zip(profile, self.seats, strict=True)):
            if program_id not in population:
                raise KeyError(f"program {program_id} is not in the population of player {seat}")
        if self.antisymmetric and profile[0] == profile[1]:
            raise ValueError("a policy's return against itself is 0 by definition in a symmetric zero-sum game")
        per_player = self._per_player(returns)
        added = {profile: per_player}
        if self.symmetric:
            added[profile[::-1]] = per_player[::-1] if profile[0] != profile[1] else per_player[:1] * 2
        return replace(self, payoffs={**self.payoffs, **added})

    def with_more_matches(self, profile: Profile, *returns: OpponentReturn) -> EmpiricalGame:
        """Pools further matches of a profile, on other seeds, with those it already has (a top-up)."""
        if profile not in self.payoffs:
            return self.with_payoff(profile, *returns)
        per_player = self._per_player(returns)
        both = (pooled(old, new) for old, new in zip(self.payoffs[profile], per_player, strict=True))
        return self.with_payoff(profile, *both)

    def _per_player(self, returns: Sequence[OpponentReturn]) -> tuple[OpponentReturn, ...]:
        if len(returns) == self.num_players:
            return tuple(returns)
        if len(returns) == 1 and self.utility == "common_payoff":
            return tuple(returns) * self.num_players
        if len(returns) == 1 and self.utility == "zero_sum" and self.num_players == 2:
            return returns[0], replace(returns[0], mean=-returns[0].mean)
        raise ValueError(f"{self.utility} game of {self.num_players} players: {len(returns)} returns for one profile")

    # -- reading --------------------------------------------------------------------------------------------

    def payoff(self, profile: Profile, player: int = 0) -> OpponentReturn:
        """What ``player`` earned in ``profile``. Raises ``KeyError`` if it has not been played."""
        if self.antisymmetric and profile[0] == profile[1] and profile[0] in self.populations[0]:
            return _NOTHING
        return self.payoffs[profile][player]

    @cached_property
    def _estimates(self) -> FloatArray:
        """Shape (num_players, *population sizes, 3): mean, stderr, matches; NaN, NaN, 0 where not played."""
        shape = tuple(len(ids) for ids in self.seats)
        table = np.full((self.num_players, *shape, 3), (np.nan, np.nan, 0.0))
        place = [{program_id: k for k, program_id in enumerate(ids)} for ids in self.seats]
        for profile, returns in self.payoffs.items():
            index = tuple(place[seat][program_id] for seat, program_id in enumerate(profile))
            for player, r in enumerate(returns):
                table[(player, *index)] = r.mean, r.stderr, r.matches
        if self.antisymmetric:
            diagonal = np.arange(shape[0])
            table[:, diagonal, diagonal] = 0.0
        return table

    def payoff_matrix(self, player: int = 0) -> FloatArray:
        """Mean returns of ``player``, shape = population sizes (a tensor beyond two players); NaN if not played."""
        return self._estimates[player, ..., 0].copy()

    def stderr_matrix(self, player: int = 0) -> FloatArray:
        """Standard errors of :meth:`payoff_matrix`."""
        return self._estimates[player, ..., 1].copy()

    def matches_matrix(self) -> FloatArray:
        """Matches behind each profile; 0 if not played or known by definition."""
        return self._estimates[0, ..., 2].copy()

    def payoff_classes(self, player: int = 0) -> list[list[int]]:
        """Indices of the player's population, payoff-identical policies together, in the order of the population.

        Two policies are identical if exchanging them changes no player's mean payoff, to the last bit, whatever
        the others play. Of a mixture only the weight of each class matters.
        """
        axes = [player, 1 - player] if self.symmetric else [player]
        rows = [np.moveaxis(self._estimates[..., 0], axis + 1, 0) for axis in axes]
        classes: dict[bytes, list[int]] = {}
        for k in range(len(self.seats[player])):
            # Adding 0.0 turns -0.0 into 0.0: equal numbers then have equal bytes.
            key = b"".join((row[k] + 0.0).tobytes() for row in rows)
            classes.setdefault(key, []).append(k)
        return list(classes.values())

    # -- storing --------------------------------------------------------------------------------------------

    def to_record(self) -> dict[str, object]:
        """Plain values that msgpack carries, for a checkpoint."""
        return {
            "utility": self.utility,
            "symmetric": self.symmetric,
            "populations": [list(ids) for ids in self.populations],
            "payoffs": [
                [list(profile), [[r.mean, r.stderr, r.matches, r.forfeits] for r in returns]]
                for profile, returns in self.payoffs.items()
            ],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> EmpiricalGame:
        """Raises ``ValueError`` if ``record`` is not what :meth:`to_record` wrote."""
        match record:
            case {
                "utility": str(utility),
                "symmetric": bool(symmetric),
                "populations": list(ids),
                "payoffs": list(entries),
            }:
                payoffs = {
                    tuple(profile): tuple(OpponentReturn(*estimate) for estimate in returns)
                    for profile, returns in entries
                }
                return cls(cast(Utility, utility), symmetric, tuple(map(tuple, ids)), payoffs)
        raise ValueError(f"not an empirical game: keys {sorted(map(str, record))}")

    def to_json(self) -> dict[str, object]:
        """For ``payoffs.json``: a symmetric game as one list of ids and one matrix each of mean, stderr and n;
        any other as lists of them, one per player. ``null`` where a profile has not been played."""
        head: dict[str, object] = {"utility": self.utility, "symmetric": self.symmetric}
        matches = self.matches_matrix().astype(int).tolist()
        if self.symmetric:
            mean, stderr = _nullable(self.payoff_matrix()), _nullable(self.stderr_matrix())
            return {**head, "ids": list(self.populations[0]), "mean": mean, "stderr": stderr, "n": matches}
        players = range(self.num_players)
        return {
            **head,
            "ids": [list(ids) for ids in self.populations],
            "mean": [_nullable(self.payoff_matrix(player)) for player in players],
            "stderr": [_nullable(self.stderr_matrix(player)) for player in players],
            "n": [matches for _ in players],
        }


def pooled(first: OpponentReturn, second: OpponentReturn) -> OpponentReturn:
    """Mean and standard error over the union of two disjoint sets of independent matches.

    Exact: a standard error and a count give back the sum of squares they came from."""
    matches = first.matches + second.matches
    if not first.matches or not second.matches:
        return first if first.matches else second
    mean = (first.matches * first.mean + second.matches * second.mean) / matches
    squares = sum(
        (r.matches * (r.matches - 1) * r.stderr**2 if r.matches > 1 else 0.0) + r.matches * (r.mean - mean) ** 2
        for r in (first, second)
    )
    stderr = math.sqrt(squares / (matches * (matches - 1)))
    return OpponentReturn(mean, stderr, matches, first.forfeits + second.forfeits)


def _nullable(values: FloatArray) -> object:
    """Nested lists with ``None`` for NaN, which JSON lacks."""
    shown = values.astype(object)
    shown[np.isnan(values)] = None
    return shown.tolist()
