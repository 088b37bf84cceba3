"""How children are asked for: the operators' shares, crossovers, repairs, prompt variants and an island's notes."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from evolve.archive.core import Archive, ArchiveSettings
from evolve.archive.memory import MemoryStore
from evolve.candidate import Candidate
from evolve.llm.core import Prompt
from evolve.oracles.evolver import Evolver, Search
from evolve.program import Program
from evolve.prompting import PromptSettings, prompt_variants
from evolve.scoring import Failed
from tests.evolve.oracles.toys import GAME, SEED, ScriptedLLM, ToyScorer, answer, program, task

SETTINGS = ArchiveSettings(num_islands=1, edit_share=0.0, migration_interval=0, reset_interval=0, return_scale=10.0)


async def run(
    llm: ScriptedLLM, founders: tuple[Program, ...] = (SEED,), **values: object
) -> tuple[MemoryStore, Archive]:
    """One search with one proposal in flight at a time."""
    store = MemoryStore("run")
    of = Search(task(), replace(SETTINGS, **values), PromptSettings())  # type: ignore[arg-type]
    archive = store.archive(of.task.task_id, of.archive)
    evaluations = [await ToyScorer().score(founder, of.task.scoring) for founder in founders]
    archive.found([Candidate(f, e) for f, e in zip(founders, evaluations, strict=True)])
    await Evolver("e", of, GAME, store, llm, ToyScorer()).work(1)
    return store, archive


def number(prompt: Prompt) -> int:
    """Of the proposal that a request, of the child or of the notes, belongs to."""
    return int(prompt.sample.split("/")[1])


def counting(prompt: Prompt) -> str:
    return answer(number(prompt) + 1)


def section(prompt: Prompt, title: str) -> str:
    """The text under a heading, ``""`` if the prompt has none."""
    _, _, rest = prompt.user.partition(f"# {title}\n")
    return rest.partition("\n\n# ")[0]


async def test_the_operators_come_in_their_shares_and_their_yields_are_counted() -> None:
    shares = {"edit_share": 0.3, "crossover_share": 0.3, "fix_share": 0.2}
    store, archive = await run(ScriptedLLM(counting), (SEED, program(0.5)), proposals=200, **shares)
    made = Counter(e["operator"] for e in store.events())
    yields = archive.progress().operators
    assert {kind: count.made for kind, count in yields.items()} == made
    # Edits cannot be read here (the script answers with whole programs), so there is something to repair.
    expected = {"edit": 60, "crossover": 60, "fix": 40, "full": 40}
    assert all(abs(made[kind] - count) < 25 for kind, count in expected.items())
    assert yields["edit"].scored == yields["edit"].improved == 0
    assert yields["crossover"].scored == made["crossover"]
    assert 0 < yields["crossover"].improved <= yields["crossover"].scored
    assert archive.progress().to_json()["operators"]["crossover"]["made"] == made["crossover"]


async def test_a_crossover_shows_two_parents_and_names_both() -> None:
    llm = ScriptedLLM(counting)
    _, archive = await run(llm, (SEED, program(0.5)), proposals=1, crossover_share=1.0)
    (prompt,) = llm.prompts
    assert program(0.5).source in prompt.user and SEED.source in prompt.user
    assert section(prompt, "Second program") and "Combine the two programs" in prompt.user
    child = archive.candidate(program(1).id)
    assert child is not None
    assert set(child.parents) == {SEED.id, program(0.5).id}
    assert child.operator == "crossover"


async def test_alone_on_its_island_a_program_is_rewritten_not_crossed() -> None:
    llm = ScriptedLLM(counting)
    store, _ = await run(llm, proposals=1, crossover_share=1.0)
    assert [e["operator"] for e in store.events()] == ["full"]
    assert not section(llm.prompts[0], "Second program")


async def test_a_failed_child_is_repaired_once_from_its_own_traceback() -> None:
    llm = ScriptedLLM(lambda prompt: answer("crash" if number(prompt) == 0 else number(prompt)))
    store, archive = await run(llm, proposals=3, fix_share=1.0)
    assert [e["operator"] for e in store.events()] == ["full", "fix", "full"]
    repair = llm.prompts[1]
    assert "could not convert string to float: 'crash'" in section(repair, "Current program")
    assert "strength = crash" in section(repair, "Current program")
    assert "crash" not in llm.prompts[2].user
    child = archive.candidate(program(1).id)
    assert child is not None and child.parents == (program("crash").id,)
    assert archive.progress().operators["fix"].improved == 1


async def test_an_answer_that_could_not_be_read_is_told_what_was_wrong() -> None:
    llm = ScriptedLLM(lambda prompt: "Sorry." if number(prompt) == 0 else answer(1))
    store, archive = await run(llm, proposals=2, fix_share=1.0)
    assert [(e["operator"], e["fault"]) for e in store.events()] == [("full", "no_code"), ("fix", "")]
    repair = llm.prompts[1]
    assert "could not be used (no_code)" in section(repair, "Last attempt")
    assert SEED.source.strip() in section(repair, "Current program")
    child = archive.candidate(program(1).id)
    assert child is not None and child.parents == (SEED.id,)


async def test_without_a_share_nothing_is_repaired() -> None:
    llm = ScriptedLLM(lambda prompt: answer("crash" if number(prompt) == 0 else number(prompt)))
    store, _ = await run(llm, proposals=4, fix_share=0.0)
    assert {e["operator"] for e in store.events()} == {"full"}


@pytest.mark.parametrize(
    ("fault", "repairable"),
    [
        (Failed("match", "timeout", ""), True),
        (Failed("edit", "no_match", ""), True),
        (Failed("edit", "refusal", ""), False),
        (Failed("audit", "audit_mismatch", ""), False),
    ],
)
def test_what_a_model_could_mend(fault: Failed, repairable: bool) -> None:
    assert fault.is_repairable is repairable


async def test_variants_whose_children_improve_are_used_more() -> None:
    """One variant alone leads to better children: it is drawn more often than the others, which are never given up."""
    chosen, others = "simplify", [name for name in prompt_variants() if name != "simplify"]

    def script(prompt: Prompt) -> str:
        return answer(number(prompt) + 1 if "Make the program simpler" in prompt.user else -1 - number(prompt))

    _, archive = await run(ScriptedLLM(script), proposals=300, variants=prompt_variants(), temperature=1e-3)
    yields = archive.progress().variants
    assert yields[chosen].improved == yields[chosen].made > 150
    assert all(yields[name].made > 0 and yields[name].improved == 0 for name in others)


async def test_without_variants_the_prompt_has_none() -> None:
    llm = ScriptedLLM(counting)
    _, archive = await run(llm, proposals=30)
    assert archive.progress().variants == {}
    assert all(section(p, "Task").lstrip().startswith("Write a program") for p in llm.prompts)


async def test_an_island_writes_notes_every_so_often_and_shows_them_from_then_on() -> None:
    def script(prompt: Prompt) -> str:
        return f"Notes {number(prompt)}." if prompt.sample.endswith("/notes") else counting(prompt)

    llm = ScriptedLLM(script)
    store, archive = await run(llm, proposals=8, notes_interval=3)
    written = [p for p in llm.prompts if p.sample.endswith("/notes")]
    assert [number(p) for p in written] == [2, 5]
    assert "## Attempt 2" in written[0].user and "## Attempt 3" not in written[0].user
    assert "Strong." in written[0].user  # the docstring, not the source
    assert "strength =" not in section(written[0], "Latest attempts")
    assert "Notes 2." in section(written[1], "Notes so far")
    shown = [section(p, "Notes") for p in llm.prompts if p not in written]
    assert ["Notes 2." in text for text in shown] == [False] * 2 + [True] * 3 + [False] * 3
    assert ["Notes 5." in text for text in shown] == [False] * 5 + [True] * 3
    assert archive.progress().notes == 2
    assert [e["notes"] for e in store.events() if e["notes"]] == ["Notes 2.", "Notes 5."]


async def test_notes_are_an_islands_own() -> None:
    def script(prompt: Prompt) -> str:
        return f"Notes {number(prompt)}." if prompt.sample.endswith("/notes") else counting(prompt)

    llm = ScriptedLLM(script)
    await run(llm, proposals=8, notes_interval=2, num_islands=2)
    shown = {number(p): section(p, "Notes") for p in llm.prompts if not p.sample.endswith("/notes")}
    assert "Notes 2." in shown[4] and "Notes 3." in shown[5]
    assert "Notes 3." not in shown[4] and "Notes 2." not in shown[5]


def test_a_later_holder_of_a_proposal_asks_the_same_whatever_happened_meanwhile() -> None:
    """Notes, failures, variants and scores that came after the draw do not change the request."""

    async def twice() -> tuple[list[Prompt], list[Prompt]]:
        store = MemoryStore("run")
        of = Search(
            task(),
            replace(SETTINGS, proposals=20, fix_share=0.5, notes_interval=2, variants=prompt_variants()),
            PromptSettings(),
        )
        archive = store.archive("br-000", of.archive)
        archive.found([Candidate(SEED, await ToyScorer().score(SEED, of.task.scoring))])
        first, second = ScriptedLLM(counting), ScriptedLLM(counting)
        dead, heir = (Evolver(name, of, GAME, store, llm, ToyScorer()) for name, llm in (("d", first), ("h", second)))
        tickets = [archive.claim("d") for _ in range(6)]
        for ticket in tickets[:5]:
            assert ticket is not None
            dead.commit(ticket, await dead.develop(ticket, dead.sample(ticket)))
        last = tickets[5]
        assert last is not None
        first.prompts.clear()
        await dead.ask(last, dead.sample(last))
        for k in range(6, 9):
            ticket = archive.claim("d")
            assert ticket is not None and ticket.index == k
            dead.commit(ticket, await dead.develop(ticket, dead.sample(ticket)))
        archive.expire_leases()
        again = archive.claim("h")
        assert again is not None and again.index == 5
        await heir.ask(again, heir.sample(again))
        return [p for p in first.prompts if number(p) == 5], second.prompts

    before, after = asyncio.run(twice())
    assert len(before) == 2  # the notes that were due, and the child
    assert before == after
