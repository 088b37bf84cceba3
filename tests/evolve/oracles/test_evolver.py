"""Evolvers: every proposal made once, whoever makes it; ends and errors that lose nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.archive.core import ArchiveSettings, Commit, Elite, Findings
from evolve.archive.memory import MemoryStore
from evolve.candidate import Candidate
from evolve.llm.budget import Budget
from evolve.llm.core import LLM, LLMError, Prompt
from evolve.llm.recording import RecordedLLM
from evolve.oracles.cascade import CascadeSettings
from evolve.oracles.evolver import Evolver, Search
from evolve.oracles.offspring import Offspring, commit_event
from evolve.prompting import PromptSettings
from evolve.scoring import Failed, Scored
from tests.evolve.oracles.toys import GAME, SEED, ScriptedLLM, ToyScorer, answer, index_of, program, task

SETTINGS = ArchiveSettings(
    num_islands=2, proposals=6, edit_share=0.0, migration_interval=4, reset_interval=5, return_scale=10.0
)


def search(**values: object) -> Search:
    return Search(task(), replace(SETTINGS, **values), PromptSettings())  # type: ignore[arg-type]


async def founded(store: MemoryStore, of: Search) -> None:
    evaluation = await ToyScorer().score(SEED, of.task.scoring)
    store.archive(of.task.task_id, of.archive).found([Candidate(SEED, evaluation)])


def evolver(store: MemoryStore, of: Search, llm: LLM, name: str = "e", scorer: ToyScorer | None = None) -> Evolver:
    return Evolver(name, of, GAME, store, llm, scorer or ToyScorer())


def numbered(prompt: Prompt) -> str:
    return answer(index_of(prompt))


def proposals(store: MemoryStore) -> list[object]:
    return [e["proposal"] for e in store.events()]


@settings(max_examples=25, deadline=None)
@given(delays=st.lists(st.integers(0, 20), min_size=6, max_size=6), slots=st.integers(1, 4), workers=st.integers(1, 3))
def test_every_proposal_is_made_once(delays: list[int], slots: int, workers: int) -> None:
    async def run() -> tuple[MemoryStore, ScriptedLLM]:
        store, of = MemoryStore("run"), search()
        llm = ScriptedLLM(numbered, delay=lambda prompt: delays[index_of(prompt)])
        await founded(store, of)
        await asyncio.gather(*(evolver(store, of, llm, f"e{i}").work(slots) for i in range(workers)))
        return store, llm

    store, llm = asyncio.run(run())
    assert sorted(map(index_of, llm.prompts)) == list(range(6))
    assert sorted(proposals(store)) == list(range(6))  # type: ignore[type-var]
    progress = store.archive("br-000", SETTINGS).progress()
    assert progress.done and progress.committed == 6
    assert store.archive("br-000", SETTINGS).best(1)[0].program.id == program(5).id


@pytest.mark.parametrize(("share", "operator"), [(0.0, "full"), (1.0, "edit")])
async def test_the_share_of_edits(share: float, operator: str) -> None:
    store, of = MemoryStore("run"), search(edit_share=share)
    llm = ScriptedLLM(numbered)
    await founded(store, of)
    await evolver(store, of, llm).work(2)
    assert {e["operator"] for e in store.events()} == {operator}
    assert all(("<<<<<<< SEARCH" in p.user) == (operator == "edit") for p in llm.prompts)
    if operator == "edit":
        assert {e["fault"] for e in store.events()} == {"no_code"}  # the script answers with whole programs


@pytest.mark.parametrize("novelty", [True, False])
async def test_a_program_known_already_is_scored_again_only_without_novelty(novelty: bool) -> None:
    store, scorer = MemoryStore("run"), ToyScorer()
    of = replace(search(), cascade=CascadeSettings(novelty=novelty))
    await founded(store, of)
    await evolver(store, of, ScriptedLLM(lambda prompt: answer(4)), scorer=scorer).work(1)
    assert {i for i, _ in scorer.asked} == {program(4).id}
    played = [event for event in store.events() if event["fault"] != "no_change"]  # not every parent was another
    assert len(played) > 1
    assert len(scorer.asked) == (1 if novelty else len(played))
    outcomes = [e["outcome"] for e in store.events()]
    assert outcomes[0] == Commit.ADDED and Commit.DUPLICATE in outcomes
    # From itself as its parent the same program is no change, and that is a fault.
    assert {(e["fault"], e["mean_return"]) for e in store.events()} <= {("", 1.0), ("no_change", None)}


async def test_whoever_takes_over_a_lease_asks_the_same_and_the_late_commit_is_refused() -> None:
    store, of, llm = MemoryStore("run"), search(proposals=1, lease_s=0.01), ScriptedLLM(numbered)
    await founded(store, of)
    dead = evolver(store, of, llm, "dead")
    ticket = dead.archive.claim("dead/0")
    assert ticket is not None
    child = await dead.develop(ticket, dead.sample(ticket))
    await evolver(store, of, llm, "heir").work(1)
    assert llm.prompts[0] == llm.prompts[1]
    assert dead.commit(ticket, child) is Commit.STALE_LEASE
    assert proposals(store) == [0]


async def test_an_exhausted_budget_ends_the_work() -> None:
    store, of, llm = MemoryStore("run"), search(), ScriptedLLM(numbered)
    await founded(store, of)
    recorded = RecordedLLM(llm, store.completions, store.ledger(Budget(llm_calls=4)))
    await evolver(store, of, recorded).work(3)
    assert len(llm.prompts) == len(proposals(store)) == 4
    assert not store.archive("br-000", SETTINGS).progress().done


async def test_an_error_lets_the_other_slots_finish() -> None:
    def script(prompt: Prompt) -> str:
        if index_of(prompt) == 1:
            raise LLMError("the provider is down")
        return numbered(prompt)

    store, of = MemoryStore("run"), search()
    llm = ScriptedLLM(script, delay=lambda prompt: 0 if index_of(prompt) == 1 else 30)
    await founded(store, of)
    with pytest.raises(LLMError, match="down"):
        await evolver(store, of, llm).work(3)
    assert sorted(proposals(store)) == [0, 2]  # type: ignore[type-var]


async def test_a_drained_evolver_finishes_what_it_holds() -> None:
    store, of = MemoryStore("run"), search()
    made: list[Evolver] = []

    def script(prompt: Prompt) -> str:
        made[0].drain()
        return numbered(prompt)

    await founded(store, of)
    made.append(evolver(store, of, ScriptedLLM(script, delay=lambda prompt: 5)))
    await made[0].work(2)
    assert sorted(proposals(store)) == [0, 1]  # type: ignore[type-var]


async def test_what_only_got_ready_when_an_evolver_is_drained_is_not_asked() -> None:
    """A call takes two hundred turns, to get ready for it some twenty: soon there is always one ready ahead."""
    store, of = MemoryStore("run"), search(proposals=60)
    made: list[Evolver] = []

    def script(prompt: Prompt) -> str:
        if index_of(prompt) == 20:
            made[0].drain()
        return numbered(prompt)

    await founded(store, of)
    llm = ScriptedLLM(script, delay=lambda prompt: 200)
    ledger = store.ledger(Budget())
    made.append(evolver(store, of, RecordedLLM(llm, store.completions, ledger)))
    held: list[int] = []
    work = asyncio.create_task(made[0].work(4, 4))
    while not work.done():
        held.append(ledger.held().llm_calls)
        await asyncio.sleep(0)
    await work
    assert max(held) > 4  # one was ready ahead
    assert len(llm.prompts) == len(proposals(store)) == ledger.spent().llm_calls <= 24
    assert not ledger.reserved()


async def test_what_a_commit_leaves_in_the_log() -> None:
    store, of = MemoryStore("run"), search()
    await founded(store, of)
    worker = evolver(store, of, ScriptedLLM(numbered))
    ticket = worker.archive.claim("e/0")
    assert ticket is not None
    child = Candidate(program("crash"), Failed("match", "timeout", "line 3"), (SEED.id,), "full", "key")
    surer = Scored(-2.0, 0.1, {})
    elite = Elite(Candidate(SEED, Scored(-3.0, 1.0, {})), 0)
    findings = Findings(False, 6, 2, 0, elite, surer, "Hit harder.")
    event = commit_event("br-000", ticket, Offspring(child, findings, "bold"), Commit.FAILED)
    assert {k: v for k, v in event.items() if k != "t_s"} == {
        "type": "commit",
        "task": "br-000",
        "proposal": 0,
        "island": 0,
        "epoch": 0,
        "program": child.program.id,
        "operator": "full",
        "variant": "bold",
        "outcome": "failed",
        "fault": "timeout",
        "mean_return": None,
        "level": None,
        "improved": False,
        "matches": 6,
        "saved_by_racing": 2,
        "saved_by_novelty": 0,
        "rescored": SEED.id,
        "rescored_return": -2.0,
        "notes": "Hit harder.",
    }
