"""AlphaEvolve as an oracle: carried-over founders, the best of all islands promoted, the same search after a kill."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evolve.archive.core import ArchiveSettings
from evolve.llm.budget import Budget
from evolve.oracles import alpha_evolve
from evolve.oracles.archive_search import Effort
from evolve.oracles.registry import archive_shape, make_oracle, oracle_kinds
from tests.evolve.oracles.toys import SEED, ScriptedLLM, World, answer, index_of, program, task

ARCHIVE = ArchiveSettings(
    edit_share=0.0, num_islands=2, proposals=8, migration_interval=4, reset_interval=6, return_scale=10.0
)


def world(llm: ScriptedLLM, **values: object) -> World:
    base = World(llm, archive=ARCHIVE)
    return replace(base, **values)  # type: ignore[arg-type]


async def test_the_best_of_all_islands_is_promoted() -> None:
    w = world(ScriptedLLM(lambda prompt: answer([3, 1, 9, 2, 7, 5, 6, 4][index_of(prompt)])))
    response = await alpha_evolve.create(w.setup()).respond(task())
    assert response.best is not None and response.best.candidate.program.id == program(9).id
    assert (response.programs, dict(response.failures), w.finished) == (8, {}, [True])


async def test_incumbents_found_the_islands_but_those_of_the_pool_are_not_promoted() -> None:
    old = program(20)
    asked = replace(task(), incumbents=(SEED, old, program("crash"), old), taken=frozenset({SEED.id, old.id}))
    w = world(ScriptedLLM(lambda prompt: answer(index_of(prompt))))
    response = await alpha_evolve.create(w.setup()).respond(asked)
    assert sum(i == old.id for i, _ in w.scorer.asked) == 1
    assert "strength = 20" in w.llm.prompts[0].user  # the strongest founder is the likeliest parent
    assert response.best is not None and response.best.candidate.program.id == program(7).id


async def test_a_search_goes_on_where_its_budget_left_it() -> None:
    archive = replace(ARCHIVE, lease_s=3600.0)
    w = world(ScriptedLLM(lambda prompt: answer(index_of(prompt))), budget=Budget(llm_calls=3), archive=archive)
    response = await alpha_evolve.create(w.setup()).respond(task())
    assert (response.programs, w.finished) == (3, [False])
    again = w.again(ScriptedLLM(lambda prompt: answer(index_of(prompt))))
    setup = again.setup()
    setup.store.archive(task().task_id, archive).expire_leases()  # of the proposals that could not be paid for
    response = await alpha_evolve.create(setup).respond(task())
    assert (response.programs, again.finished) == (8, [True])
    assert len(again.llm.prompts) == 5
    assert response.best is not None and response.best.candidate.program.id == program(7).id


def test_oracles_are_found_by_name() -> None:
    assert set(oracle_kinds()) >= {"zero_shot", "best_of_n", "linear_refinement", "alpha_evolve"}
    with pytest.raises(ValueError, match="did you mean alpha_evolve"):
        make_oracle("alpha_evolv", World(ScriptedLLM(lambda prompt: "")).setup())


@pytest.mark.parametrize("kind", sorted(set(oracle_kinds()) - {"exact_best_response", "reinforcement"}))  # ask no model
async def test_every_oracle_answers_a_task(kind: str) -> None:
    """The contract of all: a program outside the pool, its score on fresh seeds, children counted and logged."""
    w = world(ScriptedLLM(lambda prompt: answer(index_of(prompt) - 2)))
    w.archive = archive_shape(kind, ARCHIVE, Effort(samples=3, refinements=3, steps=3))
    asked = task()
    response = await make_oracle(kind, w.setup()).respond(asked)
    assert response.best is not None
    assert response.best.candidate.program.id not in asked.taken
    assert response.best.fresh.matches == 16
    assert response.programs == w.archive.proposals == len(w.commits())
    assert {e["task"] for e in w.commits()} == {"br-000"}
    calls = {"textual_gradient": 2}  # a critique and a rewrite
    assert len(w.llm.prompts) == calls.get(kind, 1) * response.programs
