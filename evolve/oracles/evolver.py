"""One evolver: sample parents, ask the model, score the child, commit it, until the task has no proposals left.

The same object runs in the driver, in a Ray actor, or step by step in a replay. All durable state is in the store: an
evolver may be killed at any moment, and whoever claims its proposal next asks for the same completion.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from evolve.archive.core import Archive, ArchiveSettings, Commit, Parents, Ticket
from evolve.archive.store import Store
from evolve.candidate import Candidate
from evolve.llm.core import LLM, BudgetExhaustedError
from evolve.oracles.core import BestResponseTask
from evolve.oracles.proposer import Proposal, Proposer
from evolve.program import Program
from evolve.prompting import Directive, PromptSettings
from evolve.scoring import Evaluation, Failed, Scored, Scorer
from games.core import Game
from games.seeds import match_seed

_POLL_S = 0.05


@dataclass(frozen=True)
class Search:
    """Everything an evolver needs to know about one search. Picklable."""

    task: BestResponseTask
    archive: ArchiveSettings
    prompts: PromptSettings


class Evolver:
    """Works on one search with many proposals in flight at a time.

    ``name`` marks its leases in the archive; two live evolvers must not share one.
    """

    def __init__(self, name: str, search: Search, game: Game, store: Store, llm: LLM, scorer: Scorer) -> None:
        self.name = name
        self.search = search
        self.archive: Archive = store.archive(search.task.task_id, search.archive)
        self._store = store
        self._scorer = scorer
        self._proposer = Proposer(game, llm, search.task.scoring, search.prompts)
        self._draining = False
        self._asking = asyncio.Semaphore(1)
        self._claiming = asyncio.Lock()
        self._held: set[Ticket] = set()

    def drain(self) -> None:
        """Claims no more proposals; those in flight are finished, for they are being paid for."""
        self._draining = True

    async def work(self, in_flight: int, backlog: int = 0) -> None:
        """Returns when every proposal is committed, the budget is exhausted, or :meth:`drain` was called.

        ``in_flight`` proposals wait for the model at a time and up to ``backlog`` more, already answered, for their
        scores: below that neither side waits for the other, past it no more is asked. An error of the model's provider
        or of the sandbox lets the other slots finish what they hold, then raises."""
        self._asking = asyncio.Semaphore(in_flight)
        renewal = asyncio.create_task(self._keep_leases())
        try:
            slots = (self._slot(i) for i in range(in_flight + backlog))
            outcomes = await asyncio.gather(*slots, return_exceptions=True)
        finally:
            renewal.cancel()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _slot(self, number: int) -> None:
        try:
            while await self._propose(number):
                pass
        except BudgetExhaustedError:
            return
        finally:
            self._draining = True

    async def _propose(self, number: int) -> bool:
        """Makes one proposal; False if there is none left to make."""
        with ExitStack() as stack:
            # Claimed only once it can be asked at once, so that its parents are the best of that moment.
            async with self._asking:
                ticket = await self._claim(number)
                if ticket is None:
                    return False
                stack.enter_context(self._holding(ticket))
                parents = self.sample(ticket)
                proposal = await self.ask(ticket, parents)
            self.commit(ticket, await self.judge(ticket, parents, proposal))
        return True

    async def _claim(self, number: int) -> Ticket | None:
        async with self._claiming:  # one slot watches for leases that run out, the others wait for it
            while not self._draining:
                ticket = self.archive.claim(f"{self.name}/{number}", time.time())
                if ticket is not None or self.archive.progress().done:
                    return ticket
                await asyncio.sleep(_POLL_S)
        return None

    @contextmanager
    def _holding(self, ticket: Ticket) -> Iterator[None]:
        self._held.add(ticket)
        try:
            yield
        finally:
            self._held.discard(ticket)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.search.archive.lease_s / 3)
            for ticket in list(self._held):
                if not self.archive.renew(ticket, time.time()):
                    self._held.discard(ticket)

    # The steps of a proposal. A replay calls them in the recorded order.

    def sample(self, ticket: Ticket) -> Parents:
        """Draws the proposal's parents from its island."""
        settings = self.search.archive
        draws = 2 * (settings.num_parents + settings.num_inspirations)
        return self.archive.sample_parents(ticket, list(self._rng(ticket, "sample").random(draws)))

    async def develop(self, ticket: Ticket, parents: Parents) -> Candidate:
        """Asks for a child and scores it. Pure but for the completion: the archive is not touched."""
        return await self.judge(ticket, parents, await self.ask(ticket, parents))

    async def ask(self, ticket: Ticket, parents: Parents) -> Proposal:
        """The first half of :meth:`develop`: what waits for the model."""
        return await self._proposer.propose(
            self._directive(ticket),
            parents.parents[0],
            parents.inspirations,
            sample=f"{self.search.task.task_id}/{ticket.index}",
        )

    async def judge(self, ticket: Ticket, parents: Parents, proposal: Proposal) -> Candidate:
        """The second half of :meth:`develop`: what waits for the scorers."""
        return Candidate(
            proposal.program,
            proposal.fault or await self._evaluate(proposal.program),
            tuple(candidate.program.id for candidate in parents.parents),
            self._directive(ticket),
            proposal.request_key,
        )

    def commit(self, ticket: Ticket, child: Candidate) -> Commit:
        """Hands the child in and writes it to the run's event log."""
        settings = self.search.archive
        outcome = self.archive.commit(ticket, child, list(self._rng(ticket, "commit").random(settings.num_islands)))
        if outcome is not Commit.STALE_LEASE:
            self._store.log(commit_event(self.search.task.task_id, ticket, child, outcome))
        return outcome

    async def _evaluate(self, child: Program) -> Evaluation:
        known = self.archive.candidate(child.id)
        if known is not None:
            return known.evaluation
        return await self._scorer.score(child, self.search.task.scoring)

    def _directive(self, ticket: Ticket) -> Directive:
        wants_edit = self._rng(ticket, "directive").random() < self.search.prompts.edit_share
        return "edit" if wants_edit else "full"

    def _rng(self, ticket: Ticket, purpose: str) -> np.random.Generator:
        return np.random.default_rng(match_seed(self.search.task.seed, purpose, ticket.index))


def commit_event(task_id: str, ticket: Ticket, child: Candidate, outcome: Commit) -> dict[str, object]:
    """The line of the event log that a commit leaves; a replay must produce the same."""
    evaluation = child.evaluation
    return {
        "type": "commit",
        "task": task_id,
        "proposal": ticket.index,
        "island": ticket.island.index,
        "epoch": ticket.island.epoch,
        "program": child.program.id,
        "operator": child.operator,
        "outcome": outcome.value,
        "fault": evaluation.fault if isinstance(evaluation, Failed) else "",
        "mean_return": evaluation.mean_return if isinstance(evaluation, Scored) else None,
        "level": evaluation.level,
        "t_s": time.time(),
    }
