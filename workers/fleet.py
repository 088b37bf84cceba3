"""Evolvers in this process: the fleet of ``execution = "local"``, and the order-keeping fleet of a replay."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence

from evolve.archive.core import Ticket
from evolve.archive.store import Store
from evolve.llm.core import LLM
from evolve.oracles.evolver import Evolver, Search
from evolve.oracles.offspring import Offspring
from evolve.scoring import Scorer
from games.core import Game


class OrderError(ValueError):
    """The recorded order cannot be carried out: the replay has left the run."""


class LocalFleet:
    """One evolver in this process; ``in_flight`` and ``backlog`` as in :meth:`evolve.oracles.evolver.Evolver.work`."""

    def __init__(self, game: Game, store: Store, llm: LLM, scorer: Scorer, in_flight: int, backlog: int) -> None:
        self._game = game
        self._store = store
        self._llm = llm
        self._scorer = scorer
        self._in_flight = in_flight
        self._backlog = backlog
        self._evolver: Evolver | None = None

    async def evolve(self, search: Search) -> bool:
        name = f"local-{uuid.uuid4().hex[:8]}"
        self._evolver = Evolver(name, search, self._game, self._store, self._llm, self._scorer)
        try:
            await self._evolver.work(self._in_flight, self._backlog)
            return self._evolver.archive.progress().done
        finally:
            self._evolver = None

    async def drain(self) -> None:
        if self._evolver is not None:
            self._evolver.drain()


class ReplayFleet:
    """Carries out the recorded order of samples and commits of each task, whatever the speed of this machine.

    Children are developed concurrently, between their sample and their commit, as they were in the run.
    """

    def __init__(
        self, game: Game, store: Store, llm: LLM, scorer: Scorer, orders: Mapping[str, Sequence[tuple[str, int]]]
    ) -> None:
        self._game = game
        self._store = store
        self._llm = llm
        self._scorer = scorer
        self._orders = orders

    async def evolve(self, search: Search) -> bool:
        evolver = Evolver("replay", search, self._game, self._store, self._llm, self._scorer)
        tickets: dict[int, Ticket] = {}
        developing: dict[int, asyncio.Task[Offspring]] = {}
        try:
            for operation, index in self._orders.get(search.task.task_id, ()):
                if operation == "sample":
                    ticket = await self._claim(evolver, index, tickets)
                    parents = evolver.sample(ticket)
                    # A lease that ran out was sampled again; its first child was never committed.
                    if (stale := developing.pop(index, None)) is not None:
                        stale.cancel()
                    developing[index] = asyncio.create_task(evolver.develop(ticket, parents))
                else:
                    evolver.commit(tickets[index], await developing.pop(index))
            return evolver.archive.progress().done
        finally:
            for task in developing.values():
                task.cancel()
            await asyncio.gather(*developing.values(), return_exceptions=True)

    async def _claim(self, evolver: Evolver, index: int, tickets: dict[int, Ticket]) -> Ticket:
        while index not in tickets:
            ticket = evolver.archive.claim("replay")
            if ticket is None:
                raise OrderError(f"the recorded order asks for proposal {index}, which the archive does not hand out")
            tickets[ticket.index] = ticket
        return tickets[index]

    async def drain(self) -> None:
        """A replay has a fixed order and is not drained."""
