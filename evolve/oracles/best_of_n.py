"""Open-loop best of N: independent proposals of one prompt, the best by score (LLM-PSRO, Bachrach et al. 2025)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from evolve.archive.core import ArchiveSettings
from evolve.candidate import Candidate
from evolve.llm.core import BudgetExhaustedError
from evolve.oracles.archive_search import ArchiveSearch, DriverFleet, Effort, OracleSetup, one_line
from evolve.oracles.core import BestResponseOracle
from evolve.oracles.evolver import Search
from evolve.oracles.ordered import OrderedSearch


class Sampler(DriverFleet):
    """The fleet: ``in_flight`` proposals under way at a time, committed in their order."""

    async def evolve(self, search: Search) -> bool:
        """An error of the provider or of the sandbox lets what is in flight finish, for it is paid for, then raises."""
        self._draining = False
        work, room = OrderedSearch(self._setup, search), asyncio.Semaphore(self._setup.in_flight)
        tasks = {k: asyncio.create_task(self._propose(work, k, room)) for k in work.open}
        try:
            for index, task in tasks.items():
                child = await task
                if child is not None:
                    work.commit(index, child)
        except BaseException:
            await _settle(list(tasks.values()), self.drain)
            raise
        return not work.open

    async def _propose(self, work: OrderedSearch, index: int, room: asyncio.Semaphore) -> Candidate | None:
        async with room:
            if self._draining:
                return None
            try:
                return await work.develop(index, "new")
            except BudgetExhaustedError:
                return None


async def _settle(tasks: list[asyncio.Task[Candidate | None]], drain: Callable[[], Awaitable[None]]) -> None:
    """After an error the others end by themselves; after a cancellation they are cancelled too."""
    await drain()
    current = asyncio.current_task()
    if current is not None and current.cancelling():
        for task in tasks:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def shape(archive: ArchiveSettings, effort: Effort) -> ArchiveSettings:
    return one_line(archive, effort.samples)


def create(setup: OracleSetup) -> BestResponseOracle:
    return ArchiveSearch(setup, Sampler(setup))
