"""What the end of a search leaves in the event log, once, whatever is killed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from evolve.archive.memory import MemoryStore
from evolve.archive.store import Record
from evolve.oracles import best_of_n
from evolve.oracles.archive_search import Effort
from evolve.oracles.core import BestResponseTask
from evolve.psro import IterationRecord
from tests.evolve.oracles.toys import SEED, ScriptedLLM, World, answer, by_index, program, task
from workers.replay import first_difference, other_versions
from workers.run import versions
from workers.search_events import lineage, log_search


def ended(carry_over: int = 0) -> tuple[World, list[BestResponseTask]]:
    """Two searches of best of 2; the second starts from what the first one found, if anything is carried over."""
    world = World(ScriptedLLM(by_index([answer(4.0), answer(2.0)])))
    world.archive = best_of_n.shape(world.archive, Effort(samples=2))
    first = task()
    asyncio.run(best_of_n.create(world.setup()).respond(first))
    second = replace(task({3.0: 1.0}, name="br-001"), earlier=("br-000",))
    setup = replace(world.again(ScriptedLLM(lambda p: answer(1.0))).setup(), carry_over=carry_over)
    asyncio.run(best_of_n.create(setup).respond(second))
    return world, [first, second]


def record(best: float | None = 4.0) -> IterationRecord:
    chosen = None if best is None else {"id": program(best).id, "mean_return": 1.0, "stderr": 0.1, "matches": 8}
    return IterationRecord(1, 0, {}, chosen, 2, {}, 2, 0.0)


def of(store: MemoryStore, kind: str) -> list[Record]:
    return [e for e in store.events() if e["type"] == kind]


def test_order_and_promotion_are_logged() -> None:
    world, (first, _) = ended()
    log_search(world.store, world.archive, first, record())
    assert [e["operations"] for e in of(world.store, "order")] == ["c0 c1"]
    (promotion,) = of(world.store, "promotion")
    assert (promotion["task"], promotion["id"], promotion["iteration"]) == ("br-000", program(4.0).id, 1)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_run_killed_at_the_end_of_a_search_logs_what_is_missing_and_nothing_twice(lost: int) -> None:
    world, (first, _) = ended()
    log_search(world.store, world.archive, first, record())
    expected = len(world.store.events())
    world.store._events = world.store._events[: expected - lost]
    log_search(world.store, world.archive, first, record())
    assert len(of(world.store, "order")) == len(of(world.store, "promotion")) == 1
    assert len(world.store.events()) == expected


def test_no_promotion_without_a_best_response() -> None:
    world, (first, _) = ended()
    log_search(world.store, world.archive, first, record(None))
    assert not of(world.store, "promotion")
    assert len(of(world.store, "order")) == 1


def test_the_lineage_of_a_carried_program_goes_on_in_the_search_that_made_it() -> None:
    world, (first, second) = ended(carry_over=1)
    archive = world.store.archive("br-001", world.archive).candidate(program(4.0).id)
    assert archive is not None and archive.operator == "carried"
    descent = lineage(world.store, world.archive, second, program(4.0).id)
    assert descent == lineage(world.store, world.archive, first, program(4.0).id)
    assert descent[0]["operator"] == "new"
    assert SEED.id not in {entry["id"] for entry in descent}


def test_what_an_older_recording_lacks_is_named() -> None:
    old = {"type": "commit", "task": "br-000", "proposal": 1, "id": "a"}
    told = first_difference([old], [{**old, "notes": ""}])
    assert told == "task br-000, proposal 1: notes is not in the recording"


def test_versions_that_a_run_was_made_with_are_told_where_they_differ() -> None:
    now = versions()
    assert other_versions({"versions": now}) == other_versions({}) == ""
    assert other_versions({"versions": {**now, "csro": "0.0.1"}}) == f"csro 0.0.1 then, {now['csro']} now"


def test_a_replay_compares_the_later_of_two_promotions_of_one_search() -> None:
    early = {"type": "promotion", "task": "br-000", "iteration": 1, "id": "a"}
    late = {**early, "id": "b"}
    assert first_difference([early, late], [late]) is None
    assert first_difference([late, early], [late]) is not None
