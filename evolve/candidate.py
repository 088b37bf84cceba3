"""A program with its evaluation and its descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evolve.program import Program
from evolve.scoring import Evaluation, Scored

Operator = Literal["new", "full", "edit", "crossover", "fix", "gradient", "train"]
"""How a child is asked for: without a parent, as a full rewrite of one, by edits, from two, as a repair, as a
rewrite that carries out a critique, or not asked for but trained."""


@dataclass(frozen=True)
class IslandRef:
    """An island at one epoch. A reset raises the epoch, so that a child of the old one is stale, not resurrected."""

    index: int
    epoch: int


@dataclass(frozen=True)
class Candidate:
    """One program in the archive.

    ``parents`` are program ids; ``operator`` says how it was made (``seed`` or an :data:`Operator`);
    ``request_key`` is the completion it came from (empty for seeds).
    """

    program: Program
    evaluation: Evaluation
    parents: tuple[str, ...] = ()
    operator: str = "seed"
    request_key: str = ""

    @property
    def behaviour(self) -> str:
        """The name of what it did in its first matches, ``""`` where that is not known."""
        return self.evaluation.behaviour if isinstance(self.evaluation, Scored) else ""

    @property
    def score(self) -> float:
        """Mean return. Raises ``TypeError`` for a failed candidate: a failure has no score."""
        if not isinstance(self.evaluation, Scored):
            raise TypeError(f"program {self.program.id} failed: {self.evaluation.fault}")
        return self.evaluation.mean_return
