"""The fleets of the textual gradient: a line of steps, each a function of those before it, asked from the driver."""

from __future__ import annotations

from typing import Protocol, cast

from evolve.archive.store import Store
from evolve.candidate import Candidate
from evolve.llm.core import BudgetExhaustedError
from evolve.oracles.archive_search import OracleSetup
from evolve.oracles.evolver import Search
from evolve.oracles.ordered import OrderedSearch
from evolve.oracles.proposer import Proposal
from evolve.oracles.textual_gradient_prompts import (
    INSTRUCTIONS_TAG,
    PROGRAM_TAG,
    Memory,
    Requests,
    outcome_in_words,
    outcome_of,
    read_instructions,
    read_program,
    remembered,
)
from evolve.program import Program
from evolve.prompting import render
from evolve.scoring import Failed, Scored


class Descent(Protocol):
    """A fleet that remembers the programs of its last search, in their order."""

    line: list[Candidate]

    async def evolve(self, search: Search) -> bool: ...

    async def drain(self) -> None: ...


class CodeDescent:
    """The variable is the code: each step costs a critique and a rewrite, and a third call if that is unreadable."""

    def __init__(self, setup: OracleSetup) -> None:
        self._setup = setup
        self._draining = False
        self.line: list[Candidate] = []

    async def drain(self) -> None:
        self._draining = True

    async def evolve(self, search: Search) -> bool:
        self._draining = False
        self.line = []
        self._memory: list[Memory] = []
        self._requests = Requests(self._setup, search)
        work = OrderedSearch(self._setup, search)
        self._begin(search)
        current = self._best = founder(self._setup.store, search)
        for index in range(search.archive.proposals):
            if self._draining:
                return False
            try:
                child = await self._step(work, index, current)
            except BudgetExhaustedError:
                return False
            work.commit(index, child)
            self.line.append(child)
            current = self._next(current, child)
        self._end(search)
        return True

    def _next(self, current: Candidate, child: Candidate) -> Candidate:
        """The variable after a step: the rewrite, unless it could not be read.

        A search for the best goes back to the best where a rewrite did worse, or failed twice in a row."""
        if unreadable(child):
            return current
        if not _worse(child, self._best):
            self._best = child
        if self._setup.effort.returns == "last":
            return child
        mend = isinstance(child.evaluation, Failed) and isinstance(current.evaluation, Scored)
        return child if mend or child is self._best else self._best

    def _begin(self, search: Search) -> None:
        """Before the first step of a search."""

    def _end(self, search: Search) -> None:
        """After its last step."""

    async def _step(self, work: OrderedSearch, index: int, current: Candidate) -> Candidate:
        feedback = await self._feedback("textual_gradient_critique.txt", index, current)
        child = await self._written(work, "textual_gradient_rewrite.txt", index, current, feedback=feedback)
        self._memory.append(Memory(index + 1, feedback, outcome_in_words(child)))
        return child

    async def _feedback(self, template: str, index: int, current: Candidate, **values: object) -> str:
        """The critique: the textual gradient of the loss."""
        return (await self._requests.ask(template, index, **self._shown(current), **values)).strip() or "(none given)"

    async def _written(
        self, work: OrderedSearch, template: str, index: int, current: Candidate, **values: object
    ) -> Candidate:
        """The program that a template asks for, scored; one that cannot be read is the text of the answer, failed."""
        shown = {**self._shown(current), **values}
        answer = await self._requests.read(template, index, read_program, PROGRAM_TAG, **shown)
        program = answer.value or Program(answer.text)
        return await work.judge(Proposal(program, answer.fault, answer.key), "gradient", current)

    def _shown(self, current: Candidate) -> dict[str, object]:
        best = self._best if _worse(current, self._best) else None
        memory = remembered(self._memory, self._setup.effort.gradient_memory)
        return {**outcome_of(current), "best": best, "memory": memory}


class PromptDescent(CodeDescent):
    """The variable is the instructions for writing the code, the operator of PIBR: up to three calls a step.

    The instructions of a player's last search are where its next one starts."""

    def _begin(self, search: Search) -> None:
        known = self._setup.store.load(f"operator:{search.task.previous}") if search.task.previous else None
        self._instructions = cast(str, known["text"]) if known else render("textual_gradient_instructions.txt")

    def _end(self, search: Search) -> None:
        self._setup.store.save(f"operator:{search.task.task_id}", {"text": self._instructions})

    async def _step(self, work: OrderedSearch, index: int, current: Candidate) -> Candidate:
        feedback = "(the first step: none yet)"
        if index > 0:
            feedback = await self._rewrite_instructions(index, current)
        template = "textual_gradient_forward.txt"
        child = await self._written(work, template, index, current, instructions=self._instructions)
        self._memory.append(Memory(index + 1, feedback, outcome_in_words(child)))
        return child

    async def _rewrite_instructions(self, index: int, current: Candidate) -> str:
        """Backward and step: returns the critique; instructions that cannot be read leave the old ones."""
        variable = {"instructions": self._instructions}
        feedback = await self._feedback("textual_gradient_prompt_critique.txt", index, current, **variable)
        shown = {**self._shown(current), **variable, "feedback": feedback}
        template = "textual_gradient_prompt_rewrite.txt"
        answer = await self._requests.read(template, index, read_instructions, INSTRUCTIONS_TAG, **shown)
        self._instructions = answer.value or self._instructions
        return feedback


def founder(store: Store, search: Search) -> Candidate:
    """The player's present policy, as the archive holds it."""
    found = store.archive(search.task.task_id, search.archive).candidate(search.task.incumbents[0].id)
    assert found is not None, "an archive is founded before its search begins"
    return found


def _worse(candidate: Candidate, best: Candidate) -> bool:
    if not isinstance(best.evaluation, Scored):
        return False
    return not isinstance(candidate.evaluation, Scored) or candidate.score < best.score


def unreadable(candidate: Candidate) -> bool:
    """An answer that held no program: the variable stays as it was."""
    return isinstance(candidate.evaluation, Failed) and candidate.evaluation.stage == "edit"
