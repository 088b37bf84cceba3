"""Exact best response in one-shot matrix games: the baseline that shows what a perfect oracle would find, and miss.

No model is asked. Each pure action is scored exactly against the other player's mixture; the present policy stays
where it is one of the best, else the best action of the lowest number is the response.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from evolve.archive.core import ArchiveSettings
from evolve.candidate import Candidate
from evolve.oracles.archive_search import ArchiveSearch, Effort, OracleSetup, one_line
from evolve.oracles.core import BestResponseOracle, BestResponseTask, Response
from evolve.oracles.evolver import Search
from evolve.oracles.promotion import Promotion, promote
from evolve.pibr_profile import one_shot
from evolve.pibr_starts import action_counts, pure_program
from games.core import Game

_TIE = 1e-9


class NoProposals:
    """The fleet: every candidate is a founder."""

    async def evolve(self, search: Search) -> bool:
        return True

    async def drain(self) -> None:
        """There is nothing under way."""


class ExactBestResponse(ArchiveSearch):
    """The present policy and each pure action found the archive, and one of them is the response."""

    async def respond(self, task: BestResponseTask) -> Response:
        actions = action_counts(self._setup.game)[task.scoring.player]
        return await super().respond(
            replace(task, incumbents=(task.incumbents[0], *(pure_program(action) for action in range(actions))))
        )

    async def _promote(self, task: BestResponseTask, ranked: Iterable[Candidate]) -> Promotion:
        places = {program.id: place for place, program in reversed(list(enumerate(task.incumbents)))}
        eligible = [candidate for candidate in ranked if candidate.program.id not in task.taken]
        highest = max((candidate.score for candidate in eligible), default=0.0)
        best = [candidate for candidate in eligible if candidate.score >= highest - _TIE]
        return await promote(task, sorted(best, key=lambda c: places[c.program.id])[:1], self._setup.scorer)


def check(game: Game) -> None:
    """Raises ``ValueError`` in games where scores are not exact."""
    if one_shot(game) is None:
        raise ValueError(f"works on matrix games played once, not on {game.spec.name}")


def shape(archive: ArchiveSettings, effort: Effort) -> ArchiveSettings:
    return one_line(archive, 1)


def create(setup: OracleSetup) -> BestResponseOracle:
    return ExactBestResponse(setup, NoProposals())
