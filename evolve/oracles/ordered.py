"""Proposals made in the driver, in a fixed order: the same requests again after a kill, and in a replay.

Every step is a function of what came before it, so a search that starts again asks for the completions that are
recorded already, and commits only what no earlier start committed.
"""

from __future__ import annotations

from functools import partial

from evolve.archive.core import Findings, Ticket
from evolve.candidate import Candidate, Operator
from evolve.oracles.archive_search import OracleSetup
from evolve.oracles.evolver import Search
from evolve.oracles.offspring import Offspring, commit_event, improves
from evolve.oracles.proposer import Proposal, Proposer
from evolve.scoring import Evaluation


class OrderedSearch:
    """The proposals of one search that one driver makes alone."""

    def __init__(self, setup: OracleSetup, search: Search) -> None:
        self._task = search.task
        self._scorer = setup.scorer
        self._archive = setup.store.archive(search.task.task_id, search.archive)
        self._proposer = Proposer(setup.game, setup.llm, search.task.scoring, search.prompts)
        self._tickets = self._claim_open()

    def _claim_open(self) -> dict[int, Ticket]:
        """Tickets of all proposals not committed, whether an earlier start held them or not."""
        self._archive.expire_leases()
        tickets: dict[int, Ticket] = {}
        while len(tickets) < self._archive.settings.proposals and (ticket := self._archive.claim("driver")) is not None:
            tickets[ticket.index] = ticket
        return tickets

    @property
    def open(self) -> list[int]:
        """Proposals that are not committed, in their order."""
        return sorted(self._tickets)

    async def develop(
        self, index: int, directive: Operator, parent: Candidate | None = None, rejected: Candidate | None = None
    ) -> Candidate:
        """Child number ``index``, scored; ``rejected`` is the attempt before it if that was not kept.

        Raises what the model's ``complete`` raises."""
        sample = f"{self._task.task_id}/{index}"
        proposal = await self._proposer.propose(directive, parent, (), sample, rejected)
        return await self.judge(proposal, directive, parent)

    async def judge(self, proposal: Proposal, directive: Operator, parent: Candidate | None = None) -> Candidate:
        """A proposal, scored."""
        evaluation: Evaluation | None = proposal.fault
        if evaluation is None:
            known = self._archive.candidate(proposal.program.id)
            evaluation = known.evaluation if known else await self._scorer.score(proposal.program, self._task.scoring)
        parents = (parent.program.id,) if parent else ()
        return Candidate(proposal.program, evaluation, parents, directive, proposal.request_key)

    def commit(self, index: int, child: Candidate) -> None:
        """Hands child ``index`` in with its event, unless an earlier start did."""
        ticket = self._tickets.pop(index, None)
        if ticket is None:
            return
        parent = self._archive.candidate(child.parents[0]) if child.parents else None
        findings = Findings(improved=parent is not None and improves(child, parent))
        event = partial(commit_event, self._task.task_id, ticket, Offspring(child, findings))
        self._archive.commit(ticket, child, [0.0, 0.0], findings, event)
