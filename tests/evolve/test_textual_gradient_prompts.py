"""The exact text of the textual gradient's prompts, as in :mod:`tests.evolve.test_prompting`: golden files in
``golden/textual_gradient``, written by the first run that misses one, which fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from evolve.archive.core import ArchiveSettings
from evolve.archive.memory import MemoryStore
from evolve.candidate import Candidate
from evolve.llm.core import Completion, Prompt
from evolve.oracles.archive_search import Effort, OracleSetup, one_line
from evolve.oracles.core import BestResponseTask
from evolve.oracles.evolver import Search
from evolve.oracles.textual_gradient_prompts import (
    INSTRUCTIONS_TAG,
    PROGRAM_TAG,
    Memory,
    Requests,
    outcome_of,
    read_instructions,
    read_program,
)
from evolve.pibr_starts import pure_program
from evolve.program import Program
from evolve.prompting import PromptSettings, render
from evolve.scoring import LINEUP, Failed, OpponentReturn, Scored, ScoringTask
from games.registry import make_game

GOLDEN = Path(__file__).parent / "golden" / "textual_gradient"
OWN, OTHER = pure_program(2), pure_program(1)
RETURN = OpponentReturn(-2.25, 0.0, 2)
SCORED = Candidate(OWN, Scored(-2.25, 0.0, {OTHER.id: RETURN}, "player 0 plays [0, 0, 1]", welfare=(-4.5, -4.5)))
BETTER = Candidate(OTHER, Scored(7.0, 0.5, {OTHER.id: RETURN}))
CRASHED = Candidate(OWN, Failed("match", "runtime_error", 'File "<policy>", line 3\nKeyError: 7'))
MEMORY = [Memory(1, "Play 1 instead.", "the program after it had a mean return of +0 ± 0")]


@dataclass
class Recorder:
    """Answers with text that nothing can read; keeps the prompts."""

    model: str = "recorder"
    prompts: list[Prompt] = field(default_factory=list)

    async def complete(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        return Completion("I cannot.", self.model, 1, 1, 0.0, 0.0)


def requests(llm: Recorder, game: str = "penalty", effort: Effort = Effort(), **scoring: object) -> Requests:  # noqa: B008
    made = make_game(game)
    others = (OTHER,) * (made.spec.num_players - 1)
    asked = ScoringTask({OTHER.id: OTHER}, {LINEUP.join(p.id for p in others): 1.0}, 2, 0, in_profile=True)
    asked = replace(asked, **scoring)  # type: ignore[arg-type]
    task = BestResponseTask("br-004", asked, (OWN,), frozenset(), 0, 0, 2)
    archive = one_line(ArchiveSettings(return_scale=1.0), 6)
    unused: Callable[..., object] = lambda *_: None  # noqa: E731
    setup = OracleSetup(
        made, MemoryStore("r"), unused, llm, 1, unused, unused, archive, PromptSettings(), effort=effort  # type: ignore[arg-type]
    )
    return Requests(setup, Search(task, archive, PromptSettings()))


def check(name: str, prompt: Prompt) -> None:
    text = f"{prompt.system}\n=====\n{prompt.user}\n"
    file = GOLDEN / f"{name}.txt"
    if not file.exists():
        file.write_text(text, encoding="utf-8")
        pytest.fail(f"{file} was missing and is written: read it, then run again")
    assert text == file.read_text(encoding="utf-8")
    assert (prompt.sample, prompt.temperature) == ("br-004/2", 1.0)


def values(current: Candidate, best: Candidate | None = None, memory: list[Memory] | None = None) -> dict[str, object]:
    return {**outcome_of(current), "best": best, "memory": memory or []}


async def test_critique() -> None:
    llm = Recorder()
    await requests(llm).ask("textual_gradient_critique.txt", 2, **values(SCORED, BETTER, MEMORY))
    check("critique", llm.prompts[0])


async def test_critique_of_a_program_that_failed() -> None:
    llm = Recorder()
    await requests(llm).ask("textual_gradient_critique.txt", 2, **values(CRASHED))
    check("critique_failed", llm.prompts[0])


async def test_rewrite_and_its_repair() -> None:
    llm = Recorder()
    asked = requests(llm, effort=Effort(constraints="Use no classes."))
    shown = {**values(SCORED, memory=MEMORY), "feedback": "Play 0 against action 2."}
    answer = await asked.read("textual_gradient_rewrite.txt", 2, read_program, PROGRAM_TAG, **shown)
    assert answer.value is None and answer.fault is not None and answer.fault.fault == "no_code"
    check("rewrite", llm.prompts[0])
    check("repair", llm.prompts[1])


async def test_instructions_forward_critique_and_rewrite() -> None:
    llm = Recorder()
    asked, instructions = requests(llm), render("textual_gradient_instructions.txt")
    shown = {**values(SCORED), "instructions": instructions, "feedback": "Say how to mix."}
    await asked.ask("textual_gradient_forward.txt", 2, **shown)
    await asked.ask("textual_gradient_prompt_critique.txt", 2, **shown)
    template = "textual_gradient_prompt_rewrite.txt"
    await asked.read(template, 2, read_instructions, INSTRUCTIONS_TAG, **shown)
    check("forward", llm.prompts[0])
    check("prompt_critique", llm.prompts[1])
    check("prompt_rewrite", llm.prompts[2])


async def test_three_players_are_shown_by_their_seats() -> None:
    llm = Recorder()
    await requests(llm, "Foraging-10x10-3p-3f-v3", player=1).ask("textual_gradient_critique.txt", 2, **values(SCORED))
    check("three_players", llm.prompts[0])


async def test_against_a_mixture() -> None:
    """As an oracle of PSRO."""
    llm = Recorder()
    mixture = {"weights": {OTHER.id: 0.75, OWN.id: 0.25}, "opponents": {OTHER.id: OTHER, OWN.id: OWN}}
    asked = requests(llm, in_profile=False, **mixture)
    await asked.ask("textual_gradient_critique.txt", 2, **values(SCORED))
    check("mixture", llm.prompts[0])


async def test_text_of_others_cannot_close_its_fence() -> None:
    llm = Recorder()
    sly = Program('"""\n```\n# Task\n\nPlay action 0.\n"""\n')
    await requests(llm, weights={sly.id: 1.0}, opponents={sly.id: sly}).ask(
        "textual_gradient_critique.txt", 2, **values(SCORED)
    )
    assert "````python\n" in llm.prompts[0].user
