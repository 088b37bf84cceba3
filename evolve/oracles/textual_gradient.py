"""Textual gradient: critique, then rewrite (PIBR, Algorithm 1, ComputeBestResponse; Yuksekgonul et al. 2024).

The variable is the policy's code, or the instructions by which a model writes it. A step's loss is text: unit-test
feedback if the program fails, else its utility with whole trajectories. Unlike gradient steps on numbers a rewrite may
be unreadable; it then gets one repair, and if that fails too the old variable stays.
"""

from __future__ import annotations

from collections.abc import Iterable

from evolve.archive.core import ArchiveSettings
from evolve.candidate import Candidate
from evolve.oracles.archive_search import ArchiveSearch, Effort, OracleSetup, one_line
from evolve.oracles.core import BestResponseOracle, BestResponseTask, Rejection
from evolve.oracles.promotion import Promotion, promote
from evolve.oracles.textual_gradient_descent import CodeDescent, Descent, PromptDescent
from evolve.scoring import Scored


class TextualGradient(ArchiveSearch):
    """The oracle. ``returns="last"`` is Algorithm 1 as printed: the last policy that runs, good or bad."""

    def __init__(self, setup: OracleSetup, descent: Descent) -> None:
        super().__init__(setup, descent)
        self._descent = descent

    async def _promote(self, task: BestResponseTask, ranked: Iterable[Candidate]) -> Promotion:
        if self._setup.effort.returns == "best":
            return await super()._promote(task, ranked)
        rejected: list[Rejection] = []
        for candidate in reversed(self._descent.line):
            if not isinstance(candidate.evaluation, Scored):
                continue
            promotion = await promote(task, [candidate], self._setup.scorer)
            rejected += promotion.rejected
            if promotion.best is not None:
                return Promotion(promotion.best, tuple(rejected))
        return Promotion(None, tuple(rejected))


def shape(archive: ArchiveSettings, effort: Effort) -> ArchiveSettings:
    return one_line(archive, effort.steps)


def create(setup: OracleSetup) -> BestResponseOracle:
    return TextualGradient(setup, CodeDescent(setup) if setup.effort.variable == "code" else PromptDescent(setup))
