"""The model and the scorers do not wait for each other, until too much waits for either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from evolve.archive.memory import MemoryStore
from evolve.llm.core import Completion, Prompt
from evolve.program import Program
from evolve.scoring import Evaluation, ScoringTask
from tests.evolve.oracles.test_evolver import evolver, founded, numbered, search
from tests.evolve.oracles.toys import ScriptedLLM, ToyScorer


class GatedScorer(ToyScorer):
    """Scores only while the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waiting = 0

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        return await super().score(program, task)


class GatedLLM(ScriptedLLM):
    """Answers only while the gate is open; knows how many calls it holds."""

    def __init__(self) -> None:
        super().__init__(numbered)
        self.gate = asyncio.Event()
        self.holding = 0
        self.most = 0

    async def complete(self, prompt: Prompt) -> Completion:
        self.holding += 1
        self.most = max(self.most, self.holding)
        await self.gate.wait()
        self.holding -= 1
        return await super().complete(prompt)


async def settled() -> None:
    for _ in range(300):
        await asyncio.sleep(0)


async def test_calls_go_on_while_children_wait_for_their_scores_up_to_the_backlog() -> None:
    store, of, llm, scorer = MemoryStore("run"), search(proposals=40), GatedLLM(), GatedScorer()
    await founded(store, of)
    llm.gate.set()
    work = asyncio.create_task(evolver(store, of, llm, scorer=scorer).work(3, 5))
    await settled()
    # Three slots and a backlog of five are full of children without a score: no more is asked.
    assert scorer.waiting == len(llm.prompts) == 8
    scorer.gate.set()
    await work
    assert store.archive("br-000", of.archive).progress().committed == 40


async def test_scoring_goes_on_while_the_model_takes_its_time() -> None:
    store, of, llm, scorer = MemoryStore("run"), search(proposals=40), GatedLLM(), GatedScorer()
    await founded(store, of)
    work = asyncio.create_task(evolver(store, of, llm, scorer=scorer).work(3, 5))
    await settled()
    assert llm.holding == 3
    llm.gate.set()
    await settled()
    llm.gate.clear()
    await settled()
    # Answered children wait for their scores, and as many calls as are allowed are under way all the same.
    assert (llm.holding, scorer.waiting) in ((3, 5), (0, 8))
    scorer.gate.set()
    await settled()
    assert scorer.waiting == 0 and llm.holding == 3
    llm.gate.set()
    await work
    assert llm.most == 3


async def test_the_first_slots_ask_before_the_last_have_claimed() -> None:
    """Slots that all claimed at once would all be asking, and none be answered, when the last has claimed."""
    store, of, llm = MemoryStore("run"), search(proposals=60), GatedLLM()
    await founded(store, of)
    asked_at_claim: list[int] = []
    slots = evolver(store, of, llm)
    take = slots._take

    def counted(worker: str) -> object:
        asked_at_claim.append(llm.holding)
        return take(worker)

    async def slow_store(work: Callable[..., object], *args: object) -> object:
        for _ in range(20):
            await asyncio.sleep(0)
        return work(*args)

    slots._take = counted  # type: ignore[assignment, method-assign]
    slots._aside = slow_store  # type: ignore[assignment]
    work = asyncio.create_task(slots.work(30))
    await settled()
    assert asked_at_claim[0] == 0
    assert asked_at_claim[29] > 15
    llm.gate.set()
    await work


async def test_slots_that_wait_for_their_turn_claim_nothing_once_drained() -> None:
    store, of, llm = MemoryStore("run"), search(proposals=60), GatedLLM()
    await founded(store, of)
    slots = evolver(store, of, llm)

    async def slow_store(work: Callable[..., object], *args: object) -> object:
        await asyncio.sleep(0)
        return work(*args)

    slots._aside = slow_store  # type: ignore[assignment]
    work = asyncio.create_task(slots.work(30))
    while llm.holding == 0:
        await asyncio.sleep(0)
    slots.drain()
    llm.gate.set()
    await work
    assert store.archive("br-000", of.archive).progress().handed_out < 15
