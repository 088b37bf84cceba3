"""What an evaluation of a program is: a score with its error, or a failure. Never a number for a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from evolve.program import Program


@dataclass(frozen=True)
class OpponentReturn:
    """Returns of one player against one opponent: mean, standard error of the mean, matches played.

    ``forfeits`` counts matches that the opponent lost by failing, each booked as the best return there is.
    """

    mean: float
    stderr: float
    matches: int
    forfeits: int = 0


@dataclass(frozen=True)
class Scored:
    """Return against a meta-strategy. ``mean_return = sum_j weight_j * mean_j`` (stratified), higher is better.

    ``stderr`` is that of the stratified mean. ``transcript`` is a short excerpt of one match, as text. ``level`` is the
    isolation level that the sandbox had proved, ``None`` if no sandbox was asked. ``welfare`` is the social welfare
    (sum of all players' returns) of each match, recorded for tasks that are ``in_profile``.
    """

    mean_return: float
    stderr: float
    by_opponent: Mapping[str, OpponentReturn]
    transcript: str = ""
    level: int | None = None
    welfare: tuple[float, ...] = ()
    transcript_opponent: str = ""
    returns: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    behaviour: str = ""
    traits: tuple[float, ...] = ()

    @property
    def matches(self) -> int:
        return sum(r.matches for r in self.by_opponent.values())


@dataclass(frozen=True)
class Failed:
    """A program that earned no score.

    ``stage`` is edit|load|smoke|match|audit, ``fault`` a FaultKind value, an edit fault such as ``no_match``, or
    ``audit_mismatch``; ``traceback`` is the program's own, ``level`` as in :class:`Scored`.
    """

    stage: str
    fault: str
    traceback: str
    level: int | None = None

    @property
    def is_repairable(self) -> bool:
        """Could a model mend it? Not where there was no answer, nor what no program may do."""
        return self.stage != "audit" and self.fault not in ("refusal", "empty")


Evaluation = Scored | Failed


@dataclass(frozen=True)
class ScoringTask:
    """Whom to play and how: the meta-strategy's support, matches per opponent, and the seed of all matches.

    ``opponents`` maps program id to program; ``weights`` maps line-ups, who sits in the other seats, to probabilities
    (sum 1). A line-up is named by its program ids in seat order, joined by ``+``: with two players, by one id. Every
    candidate of one task meets the same seeds (common random numbers), drawn from ``seed``. ``player`` is the seat
    whose return counts; where two seats are swapped from match to match it is ignored. ``audit_share`` is the share
    of programs, drawn by their ids, whose matches are replayed alone before their score counts
    (:mod:`sandbox.audit`). ``strict`` plays each match in fresh processes of its own, so that no match of a program
    can tell another anything. ``first_match`` is the number of matches per opponent that come before these in the order
    of the seeds: tasks that differ in it continue each other.

    ``in_profile``: the one line-up and the program are a joint profile (PIBR). ``player`` then keeps its seat even
    where seats are otherwise swapped, and whole trajectories and the social welfare are recorded.
    """

    opponents: Mapping[str, Program]
    weights: Mapping[str, float]
    matches_per_opponent: int
    seed: int
    player: int = 0
    audit_share: float = 0.0
    strict: bool = False
    in_profile: bool = False
    first_match: int = 0

    def lineups(self) -> dict[str, tuple[Program, ...]]:
        """The programs in the other seats, in seat order, for each key of ``weights``."""
        return {key: tuple(self.opponents[i] for i in key.split(LINEUP)) for key in self.weights}

    def presence(self) -> dict[str, dict[int, float]]:
        """Per program, heaviest first: the probability with which it sits in each of the other seats."""
        seats: dict[str, dict[int, float]] = {}
        for key, weight in self.weights.items():
            for place, program_id in enumerate(key.split(LINEUP)):
                seat = place if place < self.player else place + 1
                entry = seats.setdefault(program_id, {})
                entry[seat] = entry.get(seat, 0.0) + weight
        return dict(sorted(seats.items(), key=lambda item: -max(item[1].values())))


LINEUP = "+"
"""Joins the program ids of a line-up."""


class Scorer(Protocol):
    """Scores programs in isolation. Safe to call concurrently."""

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        """Raises :class:`sandbox.faults.SandboxError` if no isolated process can be had, never for a bad program."""
        ...
