"""AlphaEvolve as a best-response oracle: islands of programs, evolved by a fleet (CSRO section 2.4.2, variant 3)."""

from __future__ import annotations

import asyncio
from typing import Protocol

from evolve.archive.core import ArchiveSettings
from evolve.archive.store import Store
from evolve.candidate import Candidate
from evolve.oracles.core import BestResponseTask, Response
from evolve.oracles.evolver import Search
from evolve.oracles.promotion import promote
from evolve.prompting import PromptSettings
from evolve.scoring import Scorer


class Fleet(Protocol):
    """Whoever runs evolvers: this process, Ray actors, or a replay of a recorded order."""

    async def evolve(self, search: Search) -> None:
        """Returns when the search's archive has no proposals left, or the budget none to pay for."""
        ...


class AlphaEvolve:
    """Evolves islands from the task's incumbents and promotes the best program by its score on fresh seeds."""

    def __init__(
        self, store: Store, fleet: Fleet, scorer: Scorer, archive: ArchiveSettings, prompts: PromptSettings
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._scorer = scorer
        self._archive = archive
        self._prompts = prompts

    async def respond(self, task: BestResponseTask) -> Response:
        """See :class:`evolve.oracles.core.BestResponseOracle`. Raises ``ValueError`` if no incumbent runs."""
        archive = self._store.archive(task.task_id, self._archive)
        programs = list({program.id: program for program in task.incumbents}.values())
        evaluations = await asyncio.gather(*(self._scorer.score(program, task.scoring) for program in programs))
        archive.found([Candidate(p, e) for p, e in zip(programs, evaluations, strict=True)])
        await self._fleet.evolve(Search(task, self._archive, self._prompts))
        best = await promote(task, archive.best(self._archive.proposals + len(programs)), self._scorer)
        progress = archive.progress()
        return Response(best, progress.committed, progress.failures)
