"""Exact best response in one-shot matrix games: the baseline that shows what a perfect oracle would find, and miss.

No model is asked. Each pure action is scored exactly against the other player's mixture; the present policy stays
where it is one of the best, else the best action of the lowest number is the response.
"""

from __future__ import annotations

import asyncio

from evolve.archive.core import ArchiveSettings
from evolve.candidate import Candidate
from evolve.oracles.archive_search import Effort, OracleSetup, one_line
from evolve.oracles.core import BestResponse, BestResponseOracle, BestResponseTask, Response
from evolve.pibr_profile import one_shot
from evolve.pibr_starts import action_counts, pure_program
from evolve.program import Program
from evolve.scoring import Scored
from games.core import Game

_TIE = 1e-9


class ExactBestResponse:
    """See :class:`evolve.oracles.core.BestResponseOracle`."""

    def __init__(self, setup: OracleSetup) -> None:
        self._setup = setup

    async def respond(self, task: BestResponseTask) -> Response:
        actions = action_counts(self._setup.game)[task.scoring.player]
        programs = [task.incumbents[0], *(pure_program(action) for action in range(actions))]
        programs = [program for program in programs if program.id not in task.taken]
        scored = await asyncio.gather(*(self._score(task, program) for program in programs))
        ran = [pair for pair in scored if pair is not None]
        if not ran:
            return Response(None, actions, {})
        highest = max(value.mean_return for _, value in ran)
        best, value = next(pair for pair in ran if pair[1].mean_return >= highest - _TIE)
        return Response(BestResponse(Candidate(best, value), value), actions, {})

    async def _score(self, task: BestResponseTask, program: Program) -> tuple[Program, Scored] | None:
        evaluation = await self._setup.scorer.score(program, task.scoring)
        return (program, evaluation) if isinstance(evaluation, Scored) else None


def check(game: Game) -> None:
    """Raises ``ValueError`` in games where scores are not exact."""
    if one_shot(game) is None:
        raise ValueError(f"works on matrix games played once, not on {game.spec.name}")


def shape(archive: ArchiveSettings, effort: Effort) -> ArchiveSettings:
    return one_line(archive, 1)


def create(setup: OracleSetup) -> BestResponseOracle:
    return ExactBestResponse(setup)
