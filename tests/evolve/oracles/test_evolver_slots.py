"""The model and the scorers do not wait for each other, until too much waits for either."""

from __future__ import annotations

import asyncio

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
