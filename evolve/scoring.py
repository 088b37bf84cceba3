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

    ``stderr`` is that of the stratified mean. ``transcript`` is a short excerpt of one match, as text.
    """

    mean_return: float
    stderr: float
    by_opponent: Mapping[str, OpponentReturn]
    transcript: str = ""

    @property
    def matches(self) -> int:
        return sum(r.matches for r in self.by_opponent.values())


@dataclass(frozen=True)
class Failed:
    """A program that did not finish: ``stage`` (load|smoke|match|edit), ``fault`` (a FaultKind value or an
    edit fault such as ``no_match``), and the program's own traceback."""

    stage: str
    fault: str
    traceback: str


Evaluation = Scored | Failed


@dataclass(frozen=True)
class ScoringTask:
    """Whom to play and how: the meta-strategy's support, matches per opponent, and the seed of all matches.

    ``opponents`` maps program id to program, ``weights`` the same ids to probabilities (sum 1). Every
    candidate of one task meets the same seeds (common random numbers), drawn from ``seed``. ``player``
    is the seat whose return counts; in symmetric games seats alternate and it is ignored.
    """

    game: str
    game_parameters: Mapping[str, object]
    opponents: Mapping[str, Program]
    weights: Mapping[str, float]
    matches_per_opponent: int
    seed: int
    player: int = 0


class Scorer(Protocol):
    """Scores programs in isolation. Safe to call concurrently."""

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        """Raises :class:`sandbox.faults.SandboxError` if no isolated process can be had, never for a bad program."""
        ...
