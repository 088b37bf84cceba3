"""What an evaluation of a program is: a score with its error, or a failure. Never a number for a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    isolation level that the sandbox had proved, ``None`` if no sandbox was asked.
    """

    mean_return: float
    stderr: float
    by_opponent: Mapping[str, OpponentReturn]
    transcript: str = ""
    level: int | None = None

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


Evaluation = Scored | Failed


@dataclass(frozen=True)
class ScoringTask:
    """Whom to play and how: the meta-strategy's support, matches per opponent, and the seed of all matches.

    ``opponents`` maps program id to program, ``weights`` the same ids to probabilities (sum 1). Every
    candidate of one task meets the same seeds (common random numbers), drawn from ``seed``. ``player``
    is the seat whose return counts; in symmetric games seats alternate and it is ignored. ``audit_share`` is the share
    of programs, drawn by their ids, whose matches are replayed alone before their score counts
    (:mod:`sandbox.audit`). ``strict`` plays each match in fresh processes of its own, so that no match of a program
    can tell another anything.
    """

    game: str
    game_parameters: Mapping[str, object]
    opponents: Mapping[str, Program]
    weights: Mapping[str, float]
    matches_per_opponent: int
    seed: int
    player: int = 0
    audit_share: float = 0.0
    strict: bool = False


class Scorer(Protocol):
    """Scores programs in isolation. Safe to call concurrently."""

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        """Raises :class:`sandbox.faults.SandboxError` if no isolated process can be had, never for a bad program."""
        ...
