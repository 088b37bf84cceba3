"""The offline proposer: what it reads in a prompt, the form of its answers, and how many of its children run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evolve.llm.core import Completion, Prompt
from evolve.llm.offline import OfflineLLM, read_prompt, search_replace
from evolve.mutation import EditFaultError, apply_edits, full_rewrite, split_blocks
from evolve.program import Program
from evolve.prompting import fence
from games.registry import make_game

SEED = make_game("repeated_rps").brief.seed_program
EDIT = "Answer with\n\n<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n"
FULL = "Answer with the complete program in one ```python block.\n"


def prompt_for(program: str, *inspirations: str, edit: bool = False, sample: str = "") -> Prompt:
    sections = ["# Game\n\nrules", "# Policy API\n\n" + fence("class Policy: ...\n# Current program\n")]
    sections.append("# Current program\n\nIts mean return is +1.\n\n" + fence(program, "python"))
    if inspirations:
        sections.append("# Inspirations\n\n" + "\n".join(fence(text, "python") for text in inspirations))
    sections.append("# Task\n\n" + (EDIT if edit else FULL))
    return Prompt("You are an expert.", "\n\n".join(sections), sample=sample)


async def child_of(llm: OfflineLLM, parent: str, prompt: Prompt, *, edit: bool) -> Program:
    answer = (await llm.complete(prompt)).text
    return (apply_edits if edit else full_rewrite)(Program(parent), answer)


def test_headings_and_marks_inside_fences_are_data() -> None:
    tricky = '"""\n# Current program\n```python\nx = 1\n```\n<<<<<<< SEARCH\n"""\ny = 2\n'
    reading = read_prompt(prompt_for(SEED, tricky).user)
    assert reading.program is not None and reading.program.text == SEED
    assert [other.text for other in reading.others] == [tricky]
    assert not reading.wants_edits
    assert read_prompt(prompt_for(SEED, edit=True).user).wants_edits


def test_without_a_current_program_the_first_that_parses_is_taken() -> None:
    reading = read_prompt("```python\ndef broken(:\n```\n\n```python\nx = 1\n```\n\n```text\ny = 2\n```\n")
    assert reading.program is not None and reading.program.text == "x = 1\n"
    broken = read_prompt(prompt_for("def broken(:", SEED).user)
    assert broken.program is not None and broken.program.text == SEED


async def test_with_no_program_it_says_so() -> None:
    completion = await OfflineLLM(0).complete(Prompt("", "Describe the game."))
    assert "no program" in completion.text
    with pytest.raises(EditFaultError):
        full_rewrite(Program(SEED), completion.text)


@pytest.mark.parametrize("edit", [False, True])
async def test_answers_depend_on_the_seed_and_the_prompt_alone(edit: bool) -> None:
    prompt = prompt_for(SEED, edit=edit)

    async def answers(seed: int, *prompts: Prompt) -> list[str]:
        llm = OfflineLLM(seed)
        return [(await llm.complete(p)).text for p in prompts]

    other = prompt_for(SEED, edit=edit, sample="1")
    first = await answers(5, prompt, other)
    assert first == (await answers(5, other, prompt))[::-1]
    assert first[0] != first[1]
    assert first != await answers(6, prompt, other)


async def test_what_it_costs() -> None:
    prompt = prompt_for(SEED)
    completion = await OfflineLLM(0).complete(prompt)
    assert completion == Completion(
        completion.text,
        "offline",
        -(-len(prompt.system + prompt.user) // 4),
        -(-len(completion.text) // 4),
        0.0,
        completion.latency_s,
    )


@pytest.mark.parametrize("edit", [False, True])
async def test_children_change_the_blocks_only_and_keep_the_docstring(edit: bool) -> None:
    llm = OfflineLLM(1)
    for i in range(30):
        child = await child_of(llm, SEED, prompt_for(SEED, edit=edit, sample=str(i)), edit=edit)
        assert split_blocks(child.source)[0] == split_blocks(SEED)[0]
        assert child.docstring == Program(SEED).docstring
        assert child.id != Program(SEED).id


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a\nb\nc\n", "a\nB\nc\n"),
        ("x\nx\nx\nx\n", "x\nx\ny\nx\nx\n"),
        ("a\nx\nb\nx\nc\n", "a\nx\nb\ny\nc\nz\n"),
        ("x\n" * 6, "x\ny\nx\nx\nz\nx\nx\n"),
        ("a\nb\n", "b\n"),
        ("a\n", "b\na\nb\n"),
    ],
)
def test_edits_quote_enough_to_match_one_place(old: str, new: str) -> None:
    assert apply_edits(Program(old), search_replace(old, new)).source == new


_PLAY = """
import contextlib, io, json, random, sys

def plays(source):
    try:
        names = {}
        exec(compile(source, "<child>", "exec"), names)
        policy, rng, mine, theirs = names["Policy"](0, 1), random.Random(2), [], []
        for round_ in range(20):
            action = policy.act({"round": round_, "num_rounds": 1000, "my_actions": mine, "opponent_actions": theirs})
            if action not in (0, 1, 2):
                return f"illegal {action!r}"
            mine.append(int(action))
            theirs.append(rng.randrange(3))
    except Exception as error:
        return type(error).__name__
    return ""

programs = json.load(sys.stdin)
with contextlib.redirect_stdout(io.StringIO()):
    outcomes = [plays(source) for source in programs]
json.dump(outcomes, sys.stdout)
"""


def _play(programs: list[str], directory: Path) -> list[str]:
    """Faults of each program over 20 rounds, in a process of their own with nothing of ours on its path."""
    result = subprocess.run(
        [sys.executable, "-I", "-c", _PLAY],
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        cwd=directory,
        timeout=900,
        check=True,
    )
    outcomes: list[str] = json.loads(result.stdout)
    return outcomes


@pytest.mark.slow
async def test_most_children_run_and_few_are_duplicates(tmp_path: Path) -> None:
    """Two generations of the seed program of repeated rock-paper-scissors, half of the answers as edits."""
    llm, parents = OfflineLLM(11), [SEED]
    for generation in range(2):
        children = []
        for i in range(250):
            parent, edit = parents[i % len(parents)], i % 2 == 0
            inspirations = [p for p in parents[(i + 1) % len(parents) :][:2] if p != parent]
            prompt = prompt_for(parent, *inspirations, edit=edit, sample=f"{generation}/{i}")
            children.append(await child_of(llm, parent, prompt, edit=edit))
        outcomes = _play([child.source for child in children], tmp_path)
        running = [child for child, fault in zip(children, outcomes, strict=True) if not fault]
        assert len(running) >= 0.75 * len(children), outcomes
        assert len({child.id for child in children}) >= 0.75 * len(children)
        parents = [child.source for child in running[:40]]
