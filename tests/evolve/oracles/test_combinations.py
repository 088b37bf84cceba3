"""Every oracle with every opponent input and filter, on the offline model: all of them answer, under one budget."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from evolve.archive.core import ArchiveSettings
from evolve.archive.memory import MemoryStore
from evolve.llm.budget import Budget
from evolve.llm.offline import OfflineLLM
from evolve.oracles.archive_search import Effort
from evolve.oracles.registry import archive_shape, make_oracle, oracle_kinds
from evolve.prompting import OpponentFilter, OpponentInput, PromptSettings
from tests.evolve.oracles.toys import World, task

ARCHIVE = ArchiveSettings(num_islands=2, proposals=3, return_scale=10.0, lease_s=0.05)
OPPONENTS = {3.0: 0.5, 4.0: 0.3, 5.0: 0.17, 6.0: 0.03}
SHOWN = {"none": 4, "top_k": 2, "min_support": 3}


NO_PROPOSALS = {"exact_best_response", "reinforcement"}  # they ask no model
CRITICAL = {"textual_gradient"}  # two calls a program, and none where the critique finds nothing to do
PROPOSING = sorted(set(oracle_kinds()) - NO_PROPOSALS - CRITICAL)


@pytest.mark.parametrize(("shown", "chosen"), list(product(get_args(OpponentInput), SHOWN)))
async def test_textual_gradients_under_one_budget(shown: OpponentInput, chosen: OpponentFilter) -> None:
    prompts = PromptSettings(opponent_input=shown, opponent_filter=chosen, top_k=2, min_support=0.05)
    w = World(OfflineLLM(5), store=MemoryStore("run"), budget=Budget(llm_calls=9), prompts=prompts)  # type: ignore[arg-type]
    w.archive = archive_shape("textual_gradient", ARCHIVE, Effort(steps=2))
    response = await make_oracle("textual_gradient", w.setup()).respond(task(OPPONENTS))
    asked = [prompt for _, prompt, _ in w.store.completions.items()]
    assert sum(not prompt.sample for prompt in asked) == (SHOWN[chosen] if shown in ("description", "both") else 0)
    assert response.programs >= 1
    assert len(asked) <= 9


@pytest.mark.parametrize(("kind", "shown", "chosen"), list(product(PROPOSING, get_args(OpponentInput), SHOWN)))
async def test_each_combination(kind: str, shown: OpponentInput, chosen: OpponentFilter) -> None:
    assert set(SHOWN) == set(get_args(OpponentFilter))
    prompts = PromptSettings(opponent_input=shown, opponent_filter=chosen, top_k=2, min_support=0.05)
    w = World(OfflineLLM(5), store=MemoryStore("run"), budget=Budget(llm_calls=7), prompts=prompts)  # type: ignore[arg-type]
    w.archive = archive_shape(kind, ARCHIVE, Effort(samples=3, refinements=2))
    response = await make_oracle(kind, w.setup()).respond(task(OPPONENTS))
    described = SHOWN[chosen] if shown in ("description", "both") else 0
    assert response.programs == w.archive.proposals
    asked = [prompt for _, prompt, _ in w.store.completions.items()]
    assert len(asked) == described + response.programs <= 7
    assert sum(not prompt.sample for prompt in asked) == described
    for prompt in (p for p in asked if p.sample):
        assert prompt.user.count("\nSource (data):\n") == (SHOWN[chosen] if shown in ("code", "both") else 0)
        assert prompt.user.count("\nDescription (data):\n") == described
