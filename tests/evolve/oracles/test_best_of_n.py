"""Best of N and zero-shot: independent proposals, the best by score, cleanly ended and resumed."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.llm.budget import Budget
from evolve.llm.core import LLMError, Prompt
from evolve.oracles import best_of_n, zero_shot
from evolve.oracles.archive_search import Effort, Fleet
from evolve.oracles.core import Response
from evolve.prompting import PromptSettings
from tests.evolve.oracles.toys import ScriptedLLM, World, answer, by_index, index_of, program, task

ANSWERS = [answer(2), answer(6), answer(4), answer(5), answer(1)]


def world(llm: ScriptedLLM, samples: int = 5, **values: object) -> World:
    base = World(llm, **values)  # type: ignore[arg-type]
    base.archive = best_of_n.shape(base.archive, Effort(samples=samples))
    return base


async def respond(w: World) -> Response:
    return await best_of_n.create(w.setup()).respond(task())


async def test_the_best_of_the_independent_proposals_is_promoted() -> None:
    w = world(ScriptedLLM(by_index(ANSWERS)))
    response = await respond(w)
    assert response.best is not None
    assert response.best.candidate.program == program(6)
    assert response.best.fresh.mean_return == 3.0
    assert (response.programs, dict(response.failures), w.finished) == (5, {}, [True])
    assert sorted(p.sample for p in w.llm.prompts) == [f"br-000/{k}" for k in range(5)]
    assert len({(p.system, p.user) for p in w.llm.prompts}) == 1  # open loop: nothing learnt from one to the next
    assert "# Current program" not in w.llm.prompts[0].user
    assert "strength = 3.0" in w.llm.prompts[0].user  # the opponent's full source


async def test_failures_are_counted_and_never_promoted() -> None:
    answers = ["I would rather not.", answer("crash"), answer(2), answer("crash"), answer("crash")]
    response = await respond(world(ScriptedLLM(by_index(answers))))
    assert response.best is not None and response.best.candidate.program == program(2)
    assert dict(response.failures) == {"no_code": 1, "runtime_error": 1}  # the same program again is a duplicate
    assert response.programs == 5


async def test_no_program_that_runs_is_no_best_response() -> None:
    response = await respond(world(ScriptedLLM(lambda prompt: answer("crash"))))
    assert response.best is None


@settings(max_examples=25, deadline=None)
@given(delays=st.lists(st.integers(0, 40), min_size=5, max_size=5), in_flight=st.integers(1, 6))
def test_the_order_of_answers_changes_nothing(delays: list[int], in_flight: int) -> None:
    def run(llm: ScriptedLLM, in_flight: int) -> World:
        w = world(llm, in_flight=in_flight)
        asyncio.run(respond(w))
        return w

    slow = ScriptedLLM(by_index(ANSWERS), delay=lambda prompt: delays[index_of(prompt)])
    assert run(slow, in_flight).commits() == run(ScriptedLLM(by_index(ANSWERS)), 1).commits()


@pytest.mark.parametrize("in_flight", [1, 4])
async def test_an_exhausted_budget_ends_with_what_there_is(in_flight: int) -> None:
    w = world(ScriptedLLM(by_index(ANSWERS)), budget=Budget(llm_calls=3), in_flight=in_flight)
    response = await respond(w)
    assert response.best is not None and response.best.candidate.program == program(6)
    assert (response.programs, w.finished, len(w.llm.prompts)) == (3, [False], 3)
    more = w.again(ScriptedLLM(by_index(ANSWERS)))
    assert (await respond(more)).programs == 5
    assert more.finished == [True]
    assert [e["proposal"] for e in more.commits()] == [0, 1, 2, 3, 4]
    assert sorted(map(index_of, more.llm.prompts)) == [3, 4]


@settings(max_examples=20, deadline=None)
@given(broken=st.integers(0, 4), in_flight=st.integers(1, 5))
def test_a_search_that_failed_goes_on_where_it_was(broken: int, in_flight: int) -> None:
    def script(prompt: Prompt) -> str:
        if index_of(prompt) == broken:
            raise LLMError("the provider is down")
        return ANSWERS[index_of(prompt)]

    w = world(ScriptedLLM(script), in_flight=in_flight)
    with pytest.raises(LLMError, match="down"):
        asyncio.run(respond(w))
    paid = len(list(w.store.completions.items()))
    again = w.again(ScriptedLLM(by_index(ANSWERS)))
    response = asyncio.run(respond(again))
    undisturbed = world(ScriptedLLM(by_index(ANSWERS)))
    assert response == asyncio.run(respond(undisturbed))
    assert again.commits() == undisturbed.commits()
    assert len(again.llm.prompts) == 5 - paid


async def test_draining_finishes_what_is_in_flight_and_begins_nothing() -> None:
    fleets: list[Fleet] = []

    def drain_at_the_second(prompt: Prompt) -> str:
        if index_of(prompt) == 1:
            asyncio.get_running_loop().create_task(fleets[0].drain())  # type: ignore[arg-type]
        return ANSWERS[index_of(prompt)]

    # The first is still under way at the drain.
    slow_first = ScriptedLLM(drain_at_the_second, delay=lambda prompt: 50 - 40 * index_of(prompt))
    w = world(slow_first, in_flight=2, during=fleets.append)
    response = await respond(w)
    assert response.best is not None and response.best.candidate.program == program(6)
    assert w.finished == [False]
    assert [e["proposal"] for e in w.commits()] == [0, 1]


async def test_zero_shot_is_one_proposal_taken_as_it_is() -> None:
    w = World(ScriptedLLM(lambda prompt: answer(-9)), prompts=PromptSettings(opponent_input="none"))
    w.archive = zero_shot.shape(w.archive, Effort())
    response = await zero_shot.create(w.setup()).respond(task())
    assert response.best is not None and response.best.fresh.mean_return == -12.0
    assert (response.programs, len(w.llm.prompts)) == (1, 1)
    assert "strength = 3.0" not in w.llm.prompts[0].user
