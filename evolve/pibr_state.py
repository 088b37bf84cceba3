"""What a PIBR run knows: its configuration, the history of profiles, and the checkpoint between two best responses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from evolve.archive.store import Record
from evolve.pibr_profile import Mixtures, ProfileMatch, ProfileMatches, exact_returns, one_shot
from evolve.pibr_starts import Initial
from evolve.policy_pool import PolicyPool
from evolve.psro import IterationRecord
from games.core import FloatArray, Game
from sandbox.faults import Fault

_BLOCKS = 20

Order = Literal["alternating", "simultaneous", "asynchronous"]
"""Who responds in an outer loop: the players in turn (Algorithm 1), all of them to the same profile, or one drawn at
random."""


@dataclass(frozen=True)
class PibrConfig:
    """``iterations`` is the K of Algorithm 1, for each of ``starts`` starts; T is the oracle's business.

    ``matches`` score a policy in the inner loop and ``fresh_matches`` the response that comes out of it;
    ``welfare_matches`` evaluate the social welfare of each profile, all profiles on the same seeds.
    """

    iterations: int
    starts: int
    order: Order
    initial: Initial
    matches: int
    fresh_matches: int
    welfare_matches: int
    seed: int


@dataclass(frozen=True)
class Welfare:
    """Social welfare of a profile: the sum over players of their mean returns, with its standard error.

    ``mean`` is ``None`` if any match failed: such a profile has no social welfare. ``exact`` values come from no
    sample. ``returns`` are by seat. ``details`` are further figures of the game (steps, completion, efficiency),
    ``mixtures`` what the players state in a one-shot matrix game.
    """

    mean: float | None
    stderr: float | None
    matches: int
    exact: bool = False
    returns: tuple[float, ...] = ()
    failures: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, float | None] = field(default_factory=dict)
    mixtures: Mixtures | None = None

    def to_json(self) -> dict[str, Any]:
        mixtures = None if self.mixtures is None else [list(mixture) for mixture in self.mixtures]
        return {**asdict(self), "returns": list(self.returns), "mixtures": mixtures}

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Welfare:
        mixtures = None if values["mixtures"] is None else tuple(map(tuple, values["mixtures"]))
        return cls(**{**values, "returns": tuple(values["returns"]), "mixtures": mixtures})


@runtime_checkable
class _Summarised(Protocol):
    """A game with figures of its own for many matches of one profile."""

    def summary(self, returns: FloatArray, num_moves: Sequence[int]) -> Any: ...


def welfare_of(game: Game, played: ProfileMatches) -> Welfare:
    """Exact in one-shot matrix games, else means over the matches; failures are counted, never averaged in."""
    failures: dict[str, int] = {}
    for match in played.matches:
        if isinstance(match, Fault):
            key = f"player {match.player}: {match.kind.value}"
            failures[key] = failures.get(key, 0) + 1
    finished = [match for match in played.matches if not isinstance(match, Fault)]
    if failures:
        return Welfare(None, None, len(finished), failures=failures)
    matrix = one_shot(game)
    if matrix is not None and played.mixtures is not None:
        exact = exact_returns(matrix, played.mixtures)
        return Welfare(float(sum(exact)), 0.0, len(finished), True, exact, mixtures=played.mixtures)
    returns = np.array([match.returns for match in finished])
    totals = returns.sum(axis=1)
    stderr = float(totals.std(ddof=1)) / math.sqrt(len(totals)) if len(totals) > 1 else None
    means = tuple(map(float, returns.mean(axis=0)))
    return Welfare(float(totals.mean()), stderr, len(finished), False, means, {}, _details(game, returns, finished))


def _details(game: Game, returns: FloatArray, finished: Sequence[ProfileMatch]) -> dict[str, float | None]:
    """Figures of the game with their standard errors, by a jackknife over blocks of matches, for some are ratios."""
    if not isinstance(game, _Summarised):
        return {}
    moves = np.array([match.num_moves for match in finished])
    whole = _figures(game, returns, moves)
    blocks = [np.arange(len(moves)) % _BLOCKS == b for b in range(min(_BLOCKS, len(moves)))]
    without = [_figures(game, returns[~block], moves[~block]) for block in blocks] if len(blocks) > 1 else []
    details: dict[str, float | None] = {}
    for key, value in whole.items():
        details[key] = value
        left_out = np.array([part[key] for part in without], dtype=float)
        if value is not None and len(left_out):
            details[f"{key}_stderr"] = float(np.sqrt((len(left_out) - 1) * left_out.var()))
    return details


def _figures(game: _Summarised, returns: FloatArray, moves: NDArray[np.int64]) -> dict[str, float | None]:
    summary = asdict(game.summary(returns, moves.tolist()))
    return {key: value for key, value in summary.items() if key not in ("matches", "social_welfare")}


@dataclass(frozen=True)
class ProfileRecord:
    """One entry of the history H: the profile of ``start`` after outer loop ``step`` (0: as it began), by seat."""

    start: int
    step: int
    profile: tuple[str, ...]
    welfare: Welfare

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "profile": list(self.profile), "welfare": self.welfare.to_json()}

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> ProfileRecord:
        profile = tuple(values["profile"])
        return cls(values["start"], values["step"], profile, Welfare.from_record(values["welfare"]))


@dataclass(frozen=True)
class PibrIteration(IterationRecord):
    """A best response, with its place: outer loop ``step`` of ``start``."""

    start: int = 0
    step: int = 0


@dataclass(frozen=True)
class PibrState:
    """Everything a run knows between two best responses.

    ``profiles`` holds the program ids by seat that each start plays now; ``answers`` those that have been found in a
    simultaneous outer loop which has not ended. ``pools`` keep every program that was ever played, by seat.
    """

    pools: tuple[PolicyPool, ...]
    profiles: tuple[tuple[str, ...], ...]
    answers: tuple[str, ...] = ()
    history: tuple[ProfileRecord, ...] = ()
    iterations: tuple[PibrIteration, ...] = ()
    responses: int = 0

    def best(self) -> ProfileRecord | None:
        """Line 16 of Algorithm 1: the profile of the highest social welfare in the history, the earliest of equals.

        Profiles that runs start from are not in H; ``None`` if no profile after them ran without a failure."""
        return best_of([record for record in self.history if record.step > 0])

    def with_profile(self, start: int, profile: tuple[str, ...]) -> PibrState:
        profiles = list(self.profiles)
        profiles[start] = profile
        return replace(self, profiles=tuple(profiles))

    def to_record(self) -> Record:
        return {
            "pools": [pool.to_record() for pool in self.pools],
            "profiles": [list(profile) for profile in self.profiles],
            "answers": list(self.answers),
            "history": [record.to_json() for record in self.history],
            "iterations": [record.to_json() for record in self.iterations],
            "responses": self.responses,
        }

    @classmethod
    def from_record(cls, record: Record) -> PibrState:
        values = cast(dict[str, Any], record)
        return cls(
            pools=tuple(PolicyPool.from_record(pool) for pool in values["pools"]),
            profiles=tuple(map(tuple, values["profiles"])),
            answers=tuple(values["answers"]),
            history=tuple(map(ProfileRecord.from_record, values["history"])),
            iterations=tuple(PibrIteration(**entry) for entry in values["iterations"]),
            responses=values["responses"],
        )


def best_of(records: Sequence[ProfileRecord]) -> ProfileRecord | None:
    ran = [record for record in records if record.welfare.mean is not None]
    return max(ran, key=lambda record: cast(float, record.welfare.mean), default=None)
