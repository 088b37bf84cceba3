"""What the textual gradient asks a model, from text files in ``evolve/prompts/``, and how it reads tagged answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from evolve.candidate import Candidate
from evolve.llm.core import LLM, Prompt
from evolve.mutation import EditFaultError, new_program
from evolve.oracles.archive_search import OracleSetup
from evolve.oracles.evolver import Search
from evolve.oracles.proposer import Proposer
from evolve.program import Program
from evolve.prompting import OpponentsView, description_prompt, render
from evolve.scoring import Failed, Scored

T = TypeVar("T")

PROGRAM_TAG = "new_program"
INSTRUCTIONS_TAG = "new_instructions"


@dataclass(frozen=True)
class Memory:
    """Feedback of an earlier step, and in words what the program it led to earned."""

    step: int
    feedback: str
    outcome: str


@dataclass(frozen=True)
class PlayerView:
    """The program of another seat, as far as it is shown."""

    seat: int
    source: str
    description: str


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What was read in an answer, or why it could not be read even after a repair; ``key`` is its request's."""

    value: T | None
    fault: Failed | None
    text: str
    key: str


class Requests:
    """The prompts of one search."""

    def __init__(self, setup: OracleSetup, search: Search) -> None:
        self._brief = setup.game.brief
        self._llm: LLM = setup.llm
        self._settings = search.prompts
        self._effort = setup.effort
        self._task = search.task
        self._steps = search.archive.proposals
        self._proposer = Proposer(setup.game, setup.llm, search.task.scoring, search.prompts)
        self._swaps = setup.game.spec.swaps_seats
        self._context: dict[str, object] | None = None

    async def ask(self, template: str, index: int, **values: object) -> str:
        """The answer to a template filled in for step ``index``, counted from 0. Raises what ``complete`` raises."""
        return (await self._llm.complete(await self._prompt(template, index, values))).text

    async def read(
        self, template: str, index: int, reader: Callable[[str], T], tag: str, **values: object
    ) -> Answer[T]:
        """The same, read by ``reader``; an answer that it cannot read is asked for once more, with the reason."""
        prompt = await self._prompt(template, index, values)
        completion = await self._llm.complete(prompt)
        try:
            return Answer(reader(completion.text), None, completion.text, prompt.key(completion.model))
        except EditFaultError as error:
            repair = {"request": prompt.user, "answer": completion.text, "fault": str(error), "tag": tag}
        prompt = replace(prompt, user=render("textual_gradient_repair.txt", **repair))
        completion = await self._llm.complete(prompt)
        key = prompt.key(completion.model)
        try:
            return Answer(reader(completion.text), None, completion.text, key)
        except EditFaultError as error:
            return Answer(None, Failed("edit", error.fault, str(error)), completion.text, key)

    async def _prompt(self, template: str, index: int, values: Mapping[str, object]) -> Prompt:
        return Prompt(
            system=render("textual_gradient_system.txt"),
            user=render(template, **await self._common(), step=index + 1, **values),
            temperature=self._settings.temperature,
            max_output_tokens=self._settings.max_output_tokens,
            sample=f"{self._task.task_id}/{index}",
        )

    async def _common(self) -> dict[str, object]:
        """What all templates of a search share."""
        if self._context is None:
            scoring = self._task.scoring
            players = await self._players() if scoring.in_profile else ()
            opponents = OpponentsView(()) if scoring.in_profile else await self._proposer.view()
            seat_note = f"Your program is always player {scoring.player}."
            self._context = {
                "brief": self._brief,
                "limits": self._settings.limits,
                "in_profile": scoring.in_profile,
                "player": scoring.player,
                "players": players,
                "opponents": opponents,
                "seat_note": "Seats change from match to match." if self._swaps else seat_note,
                "steps": self._steps,
                "constraints": self._effort.constraints,
            }
        return self._context

    async def _players(self) -> tuple[PlayerView, ...]:
        scoring, shown = self._task.scoring, self._settings.opponent_input
        ((_, programs),) = scoring.lineups().items()
        views = []
        for place, program in enumerate(programs):
            description = ""
            if shown in ("description", "both"):
                prompt = description_prompt(self._brief, program, self._settings)
                description = (await self._llm.complete(prompt)).text
            seat = place if place < scoring.player else place + 1
            views.append(PlayerView(seat, program.source if shown in ("code", "both") else "", description))
        return tuple(views)


def outcome_of(candidate: Candidate) -> dict[str, object]:
    """A program and its loss, as the templates show them: unit tests first, then utility."""
    scored = isinstance(candidate.evaluation, Scored)
    return {"program": candidate.program, "evaluation": candidate.evaluation, "scored": scored}


def outcome_in_words(candidate: Candidate) -> str:
    """One line of the memory."""
    evaluation = candidate.evaluation
    if isinstance(evaluation, Failed):
        return f"the program after it failed ({evaluation.stage}: {evaluation.fault})"
    return f"the program after it had a mean return of {evaluation.mean_return:+.4g} ± {evaluation.stderr:.2g}"


def remembered(memory: Sequence[Memory], number: int) -> list[Memory]:
    """The last ``number`` entries."""
    return list(memory[-number:]) if number else []


def read_program(answer: str) -> Program:
    """The program between the tags; a readable program without tags will do. Raises :class:`EditFaultError`."""
    inside = _inside(answer, PROGRAM_TAG)
    if inside is None:
        return new_program(answer)
    return new_program(inside if "```" in inside else f"```python\n{inside}\n```")


def read_instructions(answer: str) -> str:
    """The text between the tags. Raises :class:`EditFaultError`."""
    inside = _inside(answer, INSTRUCTIONS_TAG)
    if not inside:
        raise EditFaultError("no_tag", f"the answer has no text between <{INSTRUCTIONS_TAG}> and </{INSTRUCTIONS_TAG}>")
    return inside


def _inside(answer: str, tag: str) -> str | None:
    """Between the last opening tag and the closing one after it; ``None`` if there is no such pair."""
    found = re.findall(rf"<{tag}>\s*\n?((?:(?!<{tag}>).)*?)</{tag}>", answer, re.DOTALL)
    return found[-1].strip("\n") if found else None

