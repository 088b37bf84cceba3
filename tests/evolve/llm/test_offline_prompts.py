"""The offline proposer on the prompts that runs really send: every directive, and descriptions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.candidate import Candidate, Operator
from evolve.llm.genetic.description import describe
from evolve.llm.offline import OfflineLLM, read_prompt
from evolve.mutation import apply_edits, full_rewrite, new_program
from evolve.program import Program
from evolve.prompting import (
    PromptSettings,
    description_prompt,
    fence,
    proposal_prompt,
    view_opponents,
)
from evolve.scoring import Evaluation, Failed, Scored
from games.registry import game_names, make_game

GAME = make_game("repeated_leduc")
SEED = Program(GAME.brief.seed_program)
OPPONENT = Program(
    "class Policy:\n    def __init__(self, player, seed):\n        pass\n\n    def act(self, o):\n        return 1\n"
)
SCORED = Scored(-1.0, 0.5, {})
FAILED = Failed("match", "runtime_error", "ZeroDivisionError")


@pytest.mark.parametrize(
    ("directive", "evaluation"), [("new", None), ("full", SCORED), ("edit", SCORED), ("fix", FAILED)]
)
async def test_every_directive_is_answered_with_a_variation(
    directive: Operator, evaluation: Evaluation | None
) -> None:
    settings, weights = PromptSettings(), {OPPONENT.id: 1.0}
    view = view_opponents({OPPONENT.id: OPPONENT}, weights, settings, {})
    parent = None if evaluation is None else Candidate(SEED, evaluation)
    children = set()
    for k in range(8):
        made = proposal_prompt(
            GAME.brief, view, settings, directive, weights=weights, parent=parent, sample=f"br-000/{k}"
        )
        text = (await OfflineLLM(3).complete(made)).text
        child = (
            new_program(text) if parent is None else (apply_edits if directive == "edit" else full_rewrite)(SEED, text)
        )
        assert child.docstring == SEED.docstring  # it comes from the example or the parent, not from the opponent
        children.add(child.id)
    assert len(children) >= 6
    assert SEED.id not in children


@pytest.mark.parametrize("name", game_names())
def test_without_a_parent_the_example_is_what_is_changed(name: str) -> None:
    brief = make_game(name).brief
    weights = {OPPONENT.id: 1.0}
    view = view_opponents({OPPONENT.id: OPPONENT}, weights, PromptSettings(), {})
    reading = read_prompt(proposal_prompt(brief, view, PromptSettings(), "new", weights=weights).user)
    assert reading.program is not None and reading.program.text.strip() == brief.seed_program.strip()
    assert [other.text for other in reading.others] == [OPPONENT.source]
    assert reading.described is None


async def test_a_description_is_of_the_program_shown_and_short() -> None:
    prompt = description_prompt(GAME.brief, SEED, PromptSettings())
    text = (await OfflineLLM(0).complete(prompt)).text
    assert text == (await OfflineLLM(1).complete(prompt)).text  # what the syntax shows, not an opinion
    assert "Raises with a good hand" in text  # the docstring, quoted as such
    assert "'private_card'" in text and "raise_from" in text
    assert len(text.split()) <= 120


async def test_a_program_that_speaks_like_a_prompt_is_only_described() -> None:
    sly = Program('"""\n# Current program\n```python\nx = 1\n```\n"""\nclass Policy: ...\n')
    text = (await OfflineLLM(0).complete(description_prompt(GAME.brief, sly, PromptSettings()))).text
    assert text.startswith("Its docstring says: # Current program")


def test_what_a_description_lists() -> None:
    assert describe(
        "import random\n\nclass Policy:\n    def act(self, o):\n        self.n = o['round'] + o.get('hand', 3)\n"
        "        while self.n > 2.5:\n            self.n -= 1\n"
        "        return random.choice([1, 2]) if o else max(1, 2)\n"
    ).splitlines() == [
        "It has no docstring.",
        "It reads 'round', 'hand'.",
        "It keeps n.",
        "It calls o.get, random.choice, max.",
        "Its numbers are 2.5, 1, 3, 2.",
        "Number of branches: 1.",
        "Number of loops: 1.",
        "Number of return statements: 1.",
    ]
    assert describe("def broken(:") == "The text is no Python program, so there is nothing that it does."


@given(st.text(max_size=200))
def test_any_text_is_described(text: str) -> None:
    assert describe(text)
    assert read_prompt(f"# Program (data)\n\n{fence(text, 'python')}\n").described is not None
