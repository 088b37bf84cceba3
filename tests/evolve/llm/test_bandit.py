"""Which model gets a prompt: learnt from outcomes and costs, and fixed once it is decided."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from evolve.archive.memory import MemoryStore
from evolve.llm.bandit import BanditLLM, MemoryArms
from evolve.llm.budget import Budget
from evolve.llm.core import Completion, Prompt
from evolve.llm.recording import RecordedLLM, teach


class Model:
    def __init__(self, name: str, usd: float, *, down: bool = False) -> None:
        self.model = name
        self.usd = usd
        self._down = down

    async def complete(self, prompt: Prompt) -> Completion:
        return Completion("here", self.model, 100, 100, self.usd, 0.1)

    def stop_waiting(self) -> None: ...

    def down(self) -> bool:
        return self._down


CHEAP, DEAR = "openai:cheap", "openai:dear"


async def searched(
    success: dict[str, float], usd: dict[str, float], *, cost_exponent: float = 1.0, store: MemoryStore | None = None
) -> Counter[str]:
    """Which models 400 prompts went to, outcomes being told as they come."""
    store = store or MemoryStore("run")
    members = [(Model(name, usd[name]), 1.0) for name in success]
    bandit = BanditLLM(members, store.arms, cost_exponent=cost_exponent, priced=True)
    llm = RecordedLLM(bandit, store.completions, store.ledger(Budget()))
    rng, asked = np.random.default_rng(1), Counter[str]()
    for i in range(400):
        prompt = Prompt("", "improve", sample=str(i))
        completion = await llm.complete(prompt)
        asked[completion.model] += 1
        teach(llm, prompt.key(completion.model), float(rng.random() < success[completion.model]))
    return asked


async def test_the_better_of_equal_cost_is_asked_more() -> None:
    asked = await searched({CHEAP: 0.02, DEAR: 0.3}, {CHEAP: 0.01, DEAR: 0.01})
    assert asked[DEAR] > 300


async def test_cost_counts() -> None:
    rates, usd = {CHEAP: 0.1, DEAR: 0.2}, {CHEAP: 0.001, DEAR: 0.01}
    assert (await searched(rates, usd))[CHEAP] > 250
    assert (await searched(rates, usd, cost_exponent=0.0))[DEAR] > 220


async def test_what_was_learnt_and_decided_survives_a_resume() -> None:
    store = MemoryStore("run")
    await searched({CHEAP: 0.02, DEAR: 0.5}, {CHEAP: 0.01, DEAR: 0.01}, store=store)
    first = [completion.model for _, _, completion in store.completions.items()]
    again = BanditLLM([(Model(m, 0.01), 1.0) for m in (CHEAP, DEAR)], store.arms, cost_exponent=1.0, priced=True)
    prompts = [prompt for _, prompt, _ in store.completions.items()]
    assert [again.model_for(prompt) for prompt in prompts] == first
    new = Counter(again.model_for(Prompt("", "later", sample=str(i))) for i in range(50))
    assert new[DEAR] > 40


def test_an_outcome_is_booked_once() -> None:
    arms = MemoryArms()
    for _ in range(3):
        arms.reward("request", CHEAP, 1.0, 0.5)
    assert arms.known()[CHEAP].trials == 1


def test_a_model_that_is_down_is_passed_over() -> None:
    members = [(Model(CHEAP, 0.001, down=True), 1.0), (Model(DEAR, 0.01), 1.0)]
    bandit = BanditLLM(members, MemoryArms(), cost_exponent=1.0, priced=True)
    assert {bandit.model_for(Prompt("", str(i))) for i in range(50)} == {DEAR}


def test_weights_multiply() -> None:
    members = [(Model(CHEAP, 0.01), 20.0), (Model(DEAR, 0.01), 1.0)]
    bandit = BanditLLM(members, MemoryArms(), cost_exponent=1.0, priced=True)
    assert Counter(bandit.model_for(Prompt("", str(i))) for i in range(100))[CHEAP] > 85


def test_a_model_that_the_experiment_no_longer_names_is_not_asked() -> None:
    arms, prompt = MemoryArms(), Prompt("", "a")
    arms.choose(prompt.key("bandit"), "openai:gone", ["openai:gone"])
    bandit = BanditLLM([(Model(CHEAP, 0.01), 1.0), (Model(DEAR, 0.01), 1.0)], arms, cost_exponent=1.0, priced=True)
    asked = bandit.model_for(prompt)
    assert asked in (CHEAP, DEAR)
    # What is learnt between two looks does not move the prompt to the other: its completion has the first one's name.
    for number in range(200):
        arms.reward(f"{number}", asked, 0.0, 1.0)
        arms.reward(f"other {number}", CHEAP if asked == DEAR else DEAR, 1.0, 0.01)
    assert bandit.model_for(prompt) == asked


def test_no_model_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        BanditLLM([(Model(CHEAP, 1), 1.0), (Model(CHEAP, 1), 1.0)], MemoryArms(), cost_exponent=1.0, priced=True)
