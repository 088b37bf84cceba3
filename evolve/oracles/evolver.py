"""One evolver: sample parents, ask the model, score the child, commit it, until the task has no proposals left.

The same object runs in the driver, in a Ray actor, or step by step in a replay. All durable state is in the store: an
evolver may be killed at any moment, and whoever claims its proposal next asks for the same completion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from evolve.archive.core import Archive, ArchiveSettings, Commit, Elite, Findings, Parents, Ticket
from evolve.archive.sampling import uniforms_needed
from evolve.archive.store import Store
from evolve.candidate import Candidate, Operator
from evolve.llm.core import LLM, BudgetExhaustedError, NotAskedError
from evolve.llm.outage import stop_waiting
from evolve.llm.places import Places
from evolve.llm.recording import take_places, teach
from evolve.oracles.cascade import Assessment, CascadeSettings, assess, rescored
from evolve.oracles.core import BestResponseTask
from evolve.oracles.offspring import Offspring, commit_event, improves
from evolve.oracles.proposer import Proposal, Proposer
from evolve.prompting import PromptSettings
from evolve.scoring import Evaluation, Failed, Scored, Scorer
from games.core import Game
from games.seeds import match_seed

_POLL_S = 0.05

_CLAIMS_AT_ONCE = 6
"""Where many answers come in together, the first slots then ask again before the last have claimed: done all at once,
each step of getting ready would wait for all of the step before, and no call would be under way meanwhile."""


@dataclass(frozen=True)
class Search:
    """Everything an evolver needs to know about one search. Picklable."""

    task: BestResponseTask
    archive: ArchiveSettings
    prompts: PromptSettings
    cascade: CascadeSettings = field(default_factory=CascadeSettings)


class Evolver:
    """Works on one search with many proposals in flight at a time.

    ``name`` marks its leases in the archive; two live evolvers must not share one.
    """

    def __init__(self, name: str, search: Search, game: Game, store: Store, llm: LLM, scorer: Scorer) -> None:
        self.name = name
        self.search = search
        self.archive: Archive = store.archive(search.task.task_id, search.archive)
        self._aside = store.aside
        self._scorer = scorer
        self._llm = llm
        self._proposer = Proposer(game, llm, search.task.scoring, search.prompts)
        self._draining = False
        self._places = Places(1)
        self._claiming = asyncio.Lock()
        self._claims = asyncio.Semaphore(_CLAIMS_AT_ONCE)
        self._held: set[Ticket] = set()

    def drain(self) -> None:
        """Claims no more proposals; those in flight are finished, for they are being paid for, unless their provider
        is down. What only got ready for a call is left to whoever goes on, with the notes that were written for it."""
        self._draining = True
        self._places.close()
        stop_waiting(self._llm)

    async def work(self, in_flight: int, backlog: int = 0) -> None:
        """Returns when every proposal is committed, the budget is exhausted, or :meth:`drain` was called.

        ``in_flight`` proposals wait for the model at a time, up to ``backlog`` more for their turn there or, already
        answered, for their scores: below that neither side waits for the other, past it no more is asked. An error of
        the model's provider or of the sandbox lets the other slots finish what they hold, then raises."""
        self._places = Places(in_flight)
        take_places(self._llm, self._places)
        renewal = asyncio.create_task(self._keep_leases())
        try:
            slots = (self._slot(i) for i in range(in_flight + backlog))
            outcomes = await asyncio.gather(*slots, return_exceptions=True)
        finally:
            renewal.cancel()
            take_places(self._llm, None)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _slot(self, number: int) -> None:
        try:
            while await self._propose(number):
                pass
        except (BudgetExhaustedError, NotAskedError):
            return
        finally:
            self._draining = True

    async def _propose(self, number: int) -> bool:
        """Makes one proposal; False if there is none left to make."""
        with ExitStack() as stack:
            # Claimed only just before it can be asked, so that its parents are the best of that moment.
            async with self._places.ready():
                claimed = await self._claim(f"{self.name}/{number}")
                if claimed is None:
                    return False
                ticket, parents = claimed
                stack.enter_context(self._holding(ticket))
                proposal = await self.ask(ticket, parents)
            await self._aside(self.commit, ticket, await self.judge(ticket, parents, proposal))
        return True

    async def _claim(self, worker: str) -> tuple[Ticket, Parents] | None:
        """A proposal to make and what it is made from; ``None`` when all are made, or no more are to be."""
        async with self._claims:
            claimed = None if self._draining else await self._aside(self._take, worker)
        if claimed is None:
            async with self._claiming:  # one slot watches for leases that run out, the others wait for it
                while claimed is None and not self._draining and not await self._aside(self._done):
                    await asyncio.sleep(_POLL_S)
                    claimed = await self._aside(self._take, worker)
        return claimed

    def _take(self, worker: str) -> tuple[Ticket, Parents] | None:
        ticket = self.archive.claim(worker)
        return None if ticket is None else (ticket, self.sample(ticket))

    def _done(self) -> bool:
        return self.archive.progress().done

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
            self._held.difference_update(await self._aside(self.archive.renew, list(self._held)))

    # The steps of a proposal. A replay calls them in the recorded order.

    def sample(self, ticket: Ticket) -> Parents:
        """Draws the proposal's parents from its island."""
        settings = self.search.archive
        return self.archive.sample_parents(ticket, list(self._rng(ticket, "sample").random(uniforms_needed(settings))))

    async def develop(self, ticket: Ticket, parents: Parents) -> Offspring:
        """Asks for a child and scores it. Pure but for the completion: the archive is not changed."""
        return await self.judge(ticket, parents, await self.ask(ticket, parents))

    async def ask(self, ticket: Ticket, parents: Parents) -> Proposal:
        """The first half of :meth:`develop`: what waits for the model."""
        sample, notes = f"{self.search.task.task_id}/{ticket.index}", ""
        if parents.recent:
            notes = await self._proposer.summarise(parents.recent, parents.notes, f"{sample}/notes")
        parent, rejected, directive = self._basis(parents)
        proposal = await self._proposer.propose(
            directive,
            parent,
            parents.inspirations,
            sample,
            rejected,
            partner=parents.parents[1] if directive == "crossover" else None,
            variant=parents.variant,
            notes=notes or parents.notes,
        )
        return replace(proposal, notes=notes)

    def _basis(self, parents: Parents) -> tuple[Candidate, Candidate | None, Operator]:
        """The program to change, the failed attempt at that if there was one, and what to ask for.

        Where an answer could not be read there is no program to repair, so its parent is tried again."""
        parent = parents.parents[0]
        if not (isinstance(parent.evaluation, Failed) and parent.evaluation.stage == "edit"):
            return parent, None, parents.operator
        before = self.archive.seen(parent.parents[0], parents.as_of)
        assert before is not None  # a parent is committed before its children
        return before, parent, "full" if isinstance(before.evaluation, Scored) else "fix"

    async def judge(self, ticket: Ticket, parents: Parents, proposal: Proposal) -> Offspring:
        """The second half of :meth:`develop`: what waits for the scorers."""
        parent, _, _ = self._basis(parents)
        assessment, revised = await asyncio.gather(
            self._assess(proposal, parents, parent.evaluation), self._rescore(parents.elite)
        )
        child = Candidate(
            proposal.program,
            assessment.evaluation,
            (parent.program.id, *(other.program.id for other in parents.parents[1:])),
            parents.operator,
            proposal.request_key,
        )
        findings = Findings(
            improved=improves(child, parent),
            played=assessment.played,
            saved_by_racing=assessment.saved_by_racing,
            saved_by_novelty=assessment.saved_by_novelty,
            elite=parents.elite,
            revised=revised,
            notes=proposal.notes,
        )
        return Offspring(child, findings, parents.variant)

    def commit(self, ticket: Ticket, offspring: Offspring) -> Commit:
        """Hands the child in; its event reaches the run's log in the same step."""
        uniforms = list(self._rng(ticket, "commit").random(2 * self.search.archive.num_islands))
        event = partial(commit_event, self.search.task.task_id, ticket, offspring)
        outcome = self.archive.commit(ticket, offspring.child, uniforms, offspring.findings, event)
        if outcome is not Commit.STALE_LEASE:
            is_new = outcome is not Commit.DUPLICATE
            teach(self._llm, offspring.child.request_key, float(is_new and offspring.findings.improved))
        return outcome

    async def _assess(self, proposal: Proposal, parents: Parents, rival: Evaluation) -> Assessment:
        if proposal.fault is not None:
            return Assessment(proposal.fault, 0)
        task = self.search.task.scoring

        async def seen(name: str) -> Candidate | None:
            return await self._aside(self.archive.seen, name, parents.as_of)

        if self.search.cascade.novelty and (known := await seen(proposal.program.id)) is not None:
            saved = task.matches_per_opponent * len(task.weights)
            return Assessment(known.evaluation, 0, saved_by_novelty=saved)
        return await assess(proposal.program, task, self._scorer, self.search.cascade, rival, seen)

    async def _rescore(self, elite: Elite | None) -> Evaluation | None:
        return None if elite is None else await rescored(elite, self.search.task.scoring, self._scorer)

    def _rng(self, ticket: Ticket, purpose: str) -> np.random.Generator:
        return np.random.default_rng(match_seed(self.search.task.seed, purpose, ticket.index))
