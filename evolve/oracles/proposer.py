"""From a parent to a child: build the prompt, ask the model, read its answer. What every oracle does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from evolve.candidate import Candidate, Operator
from evolve.llm.core import LLM
from evolve.mutation import EditFaultError, apply_edits, full_rewrite, new_program
from evolve.program import Program
from evolve.prompting import (
    OpponentsView,
    PromptSettings,
    description_prompt,
    notes_prompt,
    proposal_prompt,
    view_opponents,
    visible_opponents,
)
from evolve.scoring import Failed, ScoringTask
from games.core import Game

LONGEST_NOTES = 4000
"""Characters of notes that are kept."""


@dataclass(frozen=True)
class Proposal:
    """A child not yet scored. An unreadable answer is its own ``program``, and ``fault`` says what is wrong with it.

    ``notes`` are those that a model wrote on the way to it, if it did."""

    program: Program
    fault: Failed | None
    request_key: str
    notes: str = ""


class Proposer:
    """Asks one model for children that do well in one scoring task."""

    def __init__(self, game: Game, llm: LLM, scoring: ScoringTask, settings: PromptSettings) -> None:
        self._game = game
        self._brief = game.brief  # games write it anew each time they are asked
        self._llm = llm
        self._scoring = scoring
        self._settings = settings
        self._opponents: asyncio.Task[OpponentsView] | None = None

    async def propose(
        self,
        directive: Operator,
        parent: Candidate | None,
        inspirations: Sequence[Candidate],
        sample: str,
        rejected: Candidate | None = None,
        partner: Candidate | None = None,
        variant: str = "",
        notes: str = "",
    ) -> Proposal:
        """``sample`` names the proposal within its run; the rest is as in :func:`evolve.prompting.proposal_prompt`.

        Raises what the model's ``complete`` raises."""
        prompt = proposal_prompt(
            self._brief,
            await self.view(),
            self._settings,
            directive,
            weights=self._scoring.weights,
            seat=self._seat,
            parent=parent,
            partner=partner,
            inspirations=inspirations,
            rejected=rejected,
            variant=variant,
            notes=notes,
            sample=sample,
        )
        completion = await self._llm.complete(prompt)
        key = prompt.key(completion.model)
        if completion.finish_reason in ("refusal", "empty"):
            fault = Failed("edit", completion.finish_reason, f"the model gave no answer ({completion.finish_reason})")
            return Proposal(Program(completion.text), fault, key)
        try:
            return Proposal(_read(directive, parent, completion.text), None, key)
        except EditFaultError as error:
            return Proposal(Program(completion.text), Failed("edit", error.fault, str(error)), key)

    async def summarise(self, attempts: Sequence[Candidate], notes: str, sample: str) -> str:
        """Notes on the latest attempts in place of the ``notes`` so far; ``""`` if the model gave none.

        Raises what the model's ``complete`` raises."""
        view = await self.view()
        prompt = notes_prompt(
            self._brief, view, self._settings, attempts, notes=notes, seat=self._seat, sample=sample
        )
        return (await self._llm.complete(prompt)).text.strip()[:LONGEST_NOTES]

    @property
    def _seat(self) -> int | None:
        return None if self._game.spec.swaps_seats else self._scoring.player

    async def view(self) -> OpponentsView:
        """The opponents as prompts show them, described by the model once if the settings ask for it."""
        if self._opponents is None or (self._opponents.done() and self._opponents.exception() is not None):
            self._opponents = asyncio.create_task(self._describe())
        return await asyncio.shield(self._opponents)

    async def _describe(self) -> OpponentsView:
        scoring, settings = self._scoring, self._settings
        descriptions: dict[str, str] = {}
        presence = scoring.presence()
        weights = {i: max(seats.values()) for i, seats in presence.items()}
        if settings.opponent_input in ("description", "both"):
            for opponent in visible_opponents(weights, settings):
                prompt = description_prompt(self._brief, scoring.opponents[opponent], settings)
                descriptions[opponent] = (await self._llm.complete(prompt)).text
        several = {i: sorted(seats) for i, seats in presence.items()} if self._game.spec.num_players > 2 else None
        return view_opponents(scoring.opponents, weights, settings, descriptions, several)


def _read(directive: Operator, parent: Candidate | None, answer: str) -> Program:
    if parent is None:
        return new_program(answer)
    if directive == "edit":
        return apply_edits(parent.program, answer)
    return full_rewrite(parent.program, answer)
