"""Linear refinement: while it loses, only improvements, the fault fed back, the same line after any interruption."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.llm.budget import Budget
from evolve.llm.core import LLMError, Prompt
from evolve.oracles import linear_refinement
from evolve.oracles.archive_search import Effort, Fleet
from evolve.oracles.core import Response
from tests.evolve.oracles.toys import ScriptedLLM, World, answer, by_index, index_of, program, source, task

UNREADABLE = "Rock is a fine choice."


def world(llm: ScriptedLLM, refinements: int = 4, **values: object) -> World:
    base = World(llm, **values)  # type: ignore[arg-type]
    base.archive = linear_refinement.shape(base.archive, Effort(refinements=refinements))
    return base


async def respond(w: World) -> Response:
    return await linear_refinement.create(w.setup()).respond(task({3.0: 1.0}))


def section(prompt: Prompt, heading: str) -> str:
    """The text under a heading of the prompt, ``""`` if there is none."""
    _, found, rest = prompt.user.partition(f"\n# {heading}\n")
    return rest.partition("\n# ")[0] if found else ""


async def test_it_stops_as_soon_as_it_does_not_lose() -> None:
    w = world(ScriptedLLM(by_index([answer(1), answer(2), answer(3), answer(9), answer(9)])))
    response = await respond(w)
    assert response.best is not None and response.best.candidate.program == program(3)
    assert (response.programs, len(w.llm.prompts), w.finished) == (3, 3, [True])


async def test_it_stops_at_its_budget_of_refinements() -> None:
    w = world(ScriptedLLM(lambda prompt: answer(-1 - index_of(prompt))), refinements=2)
    response = await respond(w)
    assert response.best is not None and response.best.candidate.program == program(-1)
    assert (response.programs, w.finished) == (3, [True])


async def test_only_improvements_are_kept_and_the_others_are_told() -> None:
    w = world(ScriptedLLM(by_index([answer(0.5), answer(0.25), answer(2), answer("crash"), answer(1)])))
    response = await respond(w)
    first, second, third, fourth, fifth = w.llm.prompts
    assert section(first, "Example program") and not section(first, "Current program")
    assert source(0.5) in section(second, "Current program")
    assert "-2.50 ± 1.00" in section(second, "Current program")
    assert "a transcript" in section(second, "Current program")
    assert not section(second, "Last attempt")
    assert source(0.5) in section(third, "Current program")
    assert source(0.25) in section(third, "Last attempt") and "-2.75" in section(third, "Last attempt")
    assert source(2) in section(fourth, "Current program") and not section(fourth, "Last attempt")
    assert source(2) in section(fifth, "Current program")
    assert "ValueError" in section(fifth, "Last attempt") and source("crash") in section(fifth, "Last attempt")
    assert [e["operator"] for e in w.commits()] == ["new", "full", "full", "full", "full"]
    assert response.best is not None and response.best.candidate.program == program(2)


async def test_a_program_that_fails_is_to_be_fixed() -> None:
    w = world(ScriptedLLM(by_index([UNREADABLE, answer("crash"), answer("crash2"), answer(5)])))
    response = await respond(w)
    _, second, third, fourth = w.llm.prompts
    assert "no_code" in section(second, "Last attempt") and not section(second, "Current program")
    assert "runtime_error" in section(third, "Current program") and source("crash") in section(third, "Current program")
    assert source("crash2") in section(fourth, "Current program")  # the newer of two that fail
    assert [e["operator"] for e in w.commits()] == ["new", "new", "fix", "fix"]
    assert response.best is not None and response.best.candidate.program == program(5)


async def test_an_exhausted_budget_ends_with_what_there_is() -> None:
    w = world(ScriptedLLM(lambda prompt: answer(index_of(prompt) / 2)), budget=Budget(llm_calls=2))
    response = await respond(w)
    assert response.best is not None and response.best.candidate.program == program(0.5)
    assert (response.programs, w.finished) == (2, [False])


async def test_draining_ends_it_between_two_steps() -> None:
    def drain(fleet: Fleet) -> None:
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(fleet.drain()))

    w = world(ScriptedLLM(lambda prompt: answer(0), delay=lambda prompt: 50), during=drain)
    await respond(w)
    assert (w.finished, len(w.commits())) == ([False], 1)


step = st.one_of(st.integers(-4, 4).map(answer), st.sampled_from([answer("crash"), answer("boom"), UNREADABLE]))


@settings(max_examples=40, deadline=None)
@given(answers=st.lists(step, min_size=5, max_size=5), broken=st.integers(0, 4))
def test_any_line_is_the_same_after_an_interruption(answers: list[str], broken: int) -> None:
    undisturbed = world(ScriptedLLM(by_index(answers)))
    expected = asyncio.run(respond(undisturbed))

    def script(prompt: Prompt) -> str:
        if index_of(prompt) == broken:
            raise LLMError("the provider is down")
        return answers[index_of(prompt)]

    w = world(ScriptedLLM(script))
    with pytest.raises(LLMError) if broken < expected.programs else nullcontext():
        asyncio.run(respond(w))
    again = w.again(ScriptedLLM(by_index(answers)))
    assert asyncio.run(respond(again)) == expected
    assert again.commits() == undisturbed.commits()
    assert again.llm.prompts == undisturbed.llm.prompts[broken:]
    returns = [e["mean_return"] for e in again.commits()]
    assert all(r is None or r < 0 for r in returns[:-1])  # it went on only while it lost
