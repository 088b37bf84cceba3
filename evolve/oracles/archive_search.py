"""What every oracle of this package does around its proposals: founders in, proposals, the best of them promoted.

Oracles differ in the fleet that makes the proposals: evolvers on islands, or one line of requests in the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from evolve.archive.core import ArchiveSettings
from evolve.archive.store import Store
from evolve.candidate import Candidate
from evolve.llm.core import LLM
from evolve.oracles.core import BestResponseTask, Response
from evolve.oracles.evolver import Search
from evolve.oracles.promotion import promote
from evolve.prompting import PromptSettings
from evolve.scoring import Scorer
from games.core import Game


class Fleet(Protocol):
    """Whoever makes the proposals of a search: this process, Ray actors, or a replay of a recorded order."""

    async def evolve(self, search: Search) -> bool:
        """True if the search came to its end, False if it was drained or no budget was left to pay for it."""
        ...

    async def drain(self) -> None:
        """Proposals in flight are finished and committed; :meth:`evolve` then returns."""
        ...


Supervisor = Callable[[Fleet, Search], Awaitable[None]]
"""Has a fleet make its proposals, and may end them early; raises to keep the search from its promotion."""


@dataclass(frozen=True)
class OracleSetup:
    """What oracles are made of.

    ``llm`` and ``in_flight`` serve oracles that ask from the driver, ``fleet`` those that spread over processes.
    """

    game: Game
    store: Store
    scorer: Scorer
    llm: LLM
    in_flight: int
    fleet: Fleet
    supervise: Supervisor
    archive: ArchiveSettings
    prompts: PromptSettings


@dataclass(frozen=True)
class Effort:
    """How many proposals oracles make that have no islands: ``samples`` of best of N, ``refinements`` of a line."""

    samples: int = 12
    refinements: int = 10


class ArchiveSearch:
    """The :class:`evolve.oracles.core.BestResponseOracle` over a fleet."""

    def __init__(self, setup: OracleSetup, fleet: Fleet) -> None:
        self._setup = setup
        self._fleet = fleet

    async def respond(self, task: BestResponseTask) -> Response:
        """See :class:`evolve.oracles.core.BestResponseOracle`. Raises ``ValueError`` if no incumbent runs."""
        setup = self._setup
        archive = setup.store.archive(task.task_id, setup.archive)
        programs = list({program.id: program for program in task.incumbents}.values())
        evaluations = await asyncio.gather(*(setup.scorer.score(program, task.scoring) for program in programs))
        archive.found([Candidate(p, e) for p, e in zip(programs, evaluations, strict=True)])
        await setup.supervise(self._fleet, Search(task, setup.archive, setup.prompts))
        promotion = await promote(task, archive.best(setup.archive.proposals + len(programs)), setup.scorer)
        progress = archive.progress()
        return Response(promotion.best, progress.committed, progress.failures, promotion.rejected)


def one_line(archive: ArchiveSettings, proposals: int) -> ArchiveSettings:
    """The archive of a search without islands: one, never reset."""
    return replace(archive, num_islands=1, proposals=proposals, migration_interval=0, reset_interval=0)
