"""The textual gradient on a toy game: critique and rewrite, memory, repair, last or best, code or instructions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from evolve.archive.core import ArchiveSettings
from evolve.llm.budget import Budget
from evolve.llm.core import Prompt
from evolve.mutation import EditFaultError
from evolve.oracles import textual_gradient
from evolve.oracles.archive_search import Effort, OracleSetup
from evolve.oracles.core import Response
from evolve.oracles.textual_gradient_prompts import read_instructions, read_program
from tests.evolve.oracles.toys import ScriptedLLM, World, index_of, program, source, task

ARCHIVE = ArchiveSettings(return_scale=10.0)


def tagged(strength: float | str) -> str:
    return f"As the feedback says.\n<new_program>\n{source(strength)}</new_program>\n"


def kind_of(prompt: Prompt) -> str:
    """Which of its requests this is."""
    if "# Your last answer" in prompt.user:
        return "repair"
    if "<new_instructions>" in prompt.user:
        return "prompt_rewrite"
    if "\n# Instructions\n" in prompt.user:
        return "forward"
    if "Do not write the new instructions." in prompt.user:
        return "prompt_critique"
    return "rewrite" if "<new_program>" in prompt.user else "critique"


def script(rewrites: list[str], repairs: list[str] | None = None) -> Callable[[Prompt], str]:
    """Step k's critique says so; its rewrite (or forward pass) is the k-th of ``rewrites``."""

    def answer(prompt: Prompt) -> str:
        match kind_of(prompt):
            case "critique" | "prompt_critique":
                return f"critique {index_of(prompt)}"
            case "prompt_rewrite":
                return f"<new_instructions>\ninstructions {index_of(prompt)}\n</new_instructions>"
            case "repair":
                return (repairs or [])[index_of(prompt)]
            case _:
                return rewrites[index_of(prompt)]

    return answer


def world(answers: Callable[[Prompt], str], effort: Effort) -> World:
    return World(ScriptedLLM(answers), archive=textual_gradient.shape(ARCHIVE, effort))


def setup(w: World, effort: Effort) -> OracleSetup:
    return replace(w.setup(), effort=effort)


async def respond(w: World, effort: Effort, **changes: object) -> Response:
    asked = replace(task(), **changes)  # type: ignore[arg-type]
    return await textual_gradient.create(setup(w, effort)).respond(asked)


@pytest.mark.parametrize(("returns", "strength"), [("last", 2), ("best", 7)])
async def test_the_last_policy_is_returned_or_the_best(returns: str, strength: int) -> None:
    effort = Effort(steps=3, returns=returns)  # type: ignore[arg-type]
    w = world(script([tagged(s) for s in (4, 7, 2)]), effort)
    response = await respond(w, effort)
    assert response.best is not None and response.best.candidate.program.id == program(strength).id
    assert (response.programs, w.finished) == (3, [True])
    assert [kind_of(p) for p in w.llm.prompts] == ["critique", "rewrite"] * 3


async def test_steps_that_did_better_than_the_variable_before_them_are_counted() -> None:
    effort = Effort(steps=4, returns="last")
    w = world(script([tagged(s) for s in (4, 7, 2, "crash")]), effort)
    assert (await respond(w, effort)).search["operators"] == {"gradient": {"made": 4, "scored": 3, "improved": 2}}


async def test_the_last_policy_that_runs_is_returned() -> None:
    effort = Effort(steps=3, returns="last")
    w = world(script([tagged(4), tagged(5), tagged("crash")]), effort)
    response = await respond(w, effort)
    assert response.best is not None and response.best.candidate.program.id == program(5).id


async def test_unit_test_feedback_comes_first_and_the_failed_code_is_shown_whole() -> None:
    effort = Effort(steps=2, returns="last")
    w = world(script([tagged("crash"), tagged(5)]), effort)
    await respond(w, effort)
    critique = w.llm.prompts[2].user
    assert "Unit tests: FAILED in stage match with runtime_error" in critique
    assert "ValueError: could not convert" in critique and "strength = crash" in critique
    assert "Utility" not in critique
    assert "Unit tests: passed" in w.llm.prompts[0].user and "a transcript" in w.llm.prompts[0].user


async def test_feedback_is_remembered_with_what_came_of_it() -> None:
    effort = Effort(steps=4, returns="last", gradient_memory=2)
    w = world(script([tagged(s) for s in (1, 2, 3, 4)]), effort)
    await respond(w, effort)
    last = w.llm.prompts[-1].user
    assert "critique 0" not in last  # older than the memory
    assert "critique 1" in last and "critique 2" in last and "critique 3" in last
    assert "Step 3, the program after it had a mean return of +0 ± 1:" in last
    without = Effort(steps=4, returns="last", gradient_memory=0)
    w = world(script([tagged(s) for s in (1, 2, 3, 4)]), without)
    await respond(w, without)
    assert "# Earlier feedback" not in w.llm.prompts[-1].user


async def test_an_unreadable_rewrite_is_repaired_once_then_the_old_program_stays() -> None:
    effort = Effort(steps=3, returns="last")
    w = world(script(["no program", "none either", tagged(6)], [tagged(5), "still none"]), effort)
    response = await respond(w, effort)
    assert [kind_of(p) for p in w.llm.prompts] == [
        *("critique", "rewrite", "repair"),
        *("critique", "rewrite", "repair"),
        *("critique", "rewrite"),
    ]
    repair = w.llm.prompts[2].user
    assert repair.startswith(w.llm.prompts[1].user) and "no program" in repair
    assert "strength = 5" in w.llm.prompts[6].user  # the third step is about the last program that could be read
    assert dict(response.failures) == {"no_code": 1}


async def test_a_search_for_the_best_goes_back_to_it_and_shows_it() -> None:
    effort = Effort(steps=4, returns="best")
    w = world(script([tagged(7), tagged(2), tagged("crash"), tagged(1)]), effort)
    await respond(w, effort)
    after_worse, after_crash = w.llm.prompts[4].user, w.llm.prompts[6].user
    assert "strength = 7" in after_worse and "strength = 2" not in after_worse
    assert "strength = crash" in after_crash and "# Best program so far" in after_crash  # one try to mend it
    assert "strength = 7" in after_crash


async def test_constraints_reach_the_rewrite() -> None:
    effort = Effort(steps=1, constraints="Write no loops.")
    w = world(script([tagged(4)]), effort)
    await respond(w, effort)
    assert "- Write no loops.\n" in w.llm.prompts[1].user


async def test_instructions_as_the_variable() -> None:
    effort = Effort(steps=3, variable="prompt", returns="last")
    w = world(script([tagged(s) for s in (4, 5, 6)]), effort)
    response = await respond(w, effort)
    assert [kind_of(p) for p in w.llm.prompts] == [
        "forward",
        *("prompt_critique", "prompt_rewrite", "forward") * 2,
    ]
    assert "instructions 1" in w.llm.prompts[3].user and "instructions 2" in w.llm.prompts[6].user
    assert response.best is not None and response.best.candidate.program.id == program(6).id
    again = world(script([tagged(8)]), replace(effort, steps=1))
    again.store = w.store
    await respond(again, replace(effort, steps=1), task_id="br-001", previous="br-000")
    assert "instructions 2" in again.llm.prompts[0].user  # the operator is the player's own, and stays with it


async def test_a_search_goes_on_where_its_budget_left_it() -> None:
    effort = Effort(steps=3, returns="last")
    w = world(script([tagged(s) for s in (4, 5, 6)]), effort)
    w.budget = Budget(llm_calls=3)
    first = await respond(w, effort)
    assert (first.programs, w.finished) == (1, [False])
    again = w.again(ScriptedLLM(script([tagged(s) for s in (4, 5, 6)])))
    response = await textual_gradient.create(setup(again, effort)).respond(task())
    assert response.programs == 3 and len(again.llm.prompts) == 3  # the second critique was paid for
    assert response.best is not None and response.best.candidate.program.id == program(6).id


def test_what_is_read_in_an_answer() -> None:
    wanted = program(3).id
    assert read_program(tagged(3)).id == wanted
    assert read_program(f"<new_program>\n```python\n{source(3)}```\n</new_program>").id == wanted
    assert read_program(f"I write it between <new_program> tags.\n{tagged(1)}Better:\n{tagged(3)}").id == wanted
    assert read_program(f"```python\n{source(3)}```").id == wanted  # tags forgotten
    with pytest.raises(EditFaultError, match="no ```python block"):
        read_program("Nothing to change.")
    assert read_instructions("<new_instructions>\nBe bold.\n</new_instructions>") == "Be bold."
    for answer in ("Be bold.", "<new_instructions>\n\n</new_instructions>"):
        with pytest.raises(EditFaultError, match="no text between <new_instructions>"):
            read_instructions(answer)


