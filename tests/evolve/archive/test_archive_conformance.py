"""What every archive promises, asked of the one in memory and the one in Redis."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from archive_builders import HALVES, claimed, failed, made, reclaimed, scored

from evolve.archive.core import Archive, ArchiveSettings, Commit
from evolve.archive.store import Store
from evolve.program import Program

QUIET = ArchiveSettings(num_islands=2, proposals=6, migration_interval=0, reset_interval=0, lease_s=1e6)


def archive_with(store: Store, settings: ArchiveSettings, *founders: float) -> Archive:
    archive = store.archive("task", settings)
    archive.found([scored(f"founder{index}", score) for index, score in enumerate(founders or (0.0,))])
    return archive


def test_founders_are_on_every_island_once(store: Store) -> None:
    archive = store.archive("task", QUIET)
    twin = scored("seed", 1.0)
    archive.found([twin, twin, scored("other", 0.5), failed("broken")])
    archive.found([scored("late", 9.0)])
    assert [(i.programs, i.best, i.mean) for i in archive.progress().islands] == [(2, 1.0, 0.75)] * 2
    assert [c.score for c in archive.best(9)] == [1.0, 0.5]
    assert archive.candidate(failed("broken").program.id) is not None
    assert archive.candidate(scored("late", 9.0).program.id) is None
    assert archive.progress().failures == {}


def test_an_archive_without_a_scored_founder_is_refused(store: Store) -> None:
    archive = store.archive("task", QUIET)
    with pytest.raises(ValueError, match="scored"):
        archive.found([failed("broken")])
    with pytest.raises(ValueError, match="founders"):
        archive.claim("w")
    assert archive.progress().islands[0].best is None


def test_the_settings_of_the_first_call_stay(store: Store) -> None:
    archive_with(store, QUIET)
    assert store.archive("task", ArchiveSettings(num_islands=7)).settings == QUIET
    assert store.archive("another", ArchiveSettings(num_islands=7)).settings.num_islands == 7


def test_islands_take_turns_until_all_is_handed_out(store: Store) -> None:
    archive = archive_with(store, QUIET)
    tickets = [claimed(archive) for _ in range(6)]
    assert [(t.index, t.attempt, t.island.index, t.island.epoch) for t in tickets] == [
        (i, 1, i % 2, 0) for i in range(6)
    ]
    assert archive.claim("w") is None
    assert archive.progress().handed_out == 6
    assert not archive.progress().done


def test_expired_leases_come_first_and_the_lowest_number_of_them(store: Store) -> None:
    archive = archive_with(store, QUIET)
    first, second = claimed(archive), claimed(archive)
    assert claimed(archive).index == 2
    archive.expire_leases()
    assert claimed(archive) == replace(first, attempt=2)
    assert claimed(archive) == replace(second, attempt=2)
    assert [claimed(archive).index for _ in range(2)] == [2, 3]
    archive.expire_leases()
    assert claimed(archive) == replace(first, attempt=3)


def test_a_lease_runs_out_by_itself(store: Store) -> None:
    archive = archive_with(store, replace(QUIET, lease_s=0.01, proposals=1))
    ticket = claimed(archive)
    while (heir := archive.claim("heir")) is None:
        time.sleep(0.005)
    assert heir == replace(ticket, attempt=2)


def test_a_renewed_lease_is_kept_and_a_lost_one_cannot_be_renewed(store: Store) -> None:
    archive = archive_with(store, QUIET)
    ticket = claimed(archive)
    archive.expire_leases()
    assert archive.renew([ticket]) == []
    assert claimed(archive).index == 1
    successor = reclaimed(archive)
    assert (successor.index, successor.attempt) == (0, 2)
    assert archive.renew([ticket, successor]) == [ticket]
    assert archive.commit(successor, scored("child", 1.0), HALVES) is Commit.ADDED
    assert archive.renew([successor]) == [successor]
    assert archive.renew([]) == []


def test_an_expired_lease_that_nobody_took_still_commits(store: Store) -> None:
    archive = archive_with(store, QUIET)
    ticket = claimed(archive)
    archive.expire_leases()
    assert archive.commit(ticket, scored("child", 1.0), HALVES) is Commit.ADDED
    assert reclaimed(archive).index == 1


def test_later_holders_get_the_parents_that_were_drawn_first(store: Store) -> None:
    archive = archive_with(store, QUIET, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    first = claimed(archive)
    parents = archive.sample_parents(first, [0.9] * 12)
    second = reclaimed(archive)
    assert second.index == first.index
    assert archive.sample_parents(second, [0.1] * 12) == parents
    assert archive.sample_parents(first, [0.1] * 12) == parents
    archive.commit(second, scored("child", 1.0), HALVES)
    assert archive.sample_parents(second, [0.1] * 12) == parents
    assert archive.operations() == [("sample", 0), ("commit", 0)]


def test_parents_and_inspirations_are_distinct_and_inspirations_best_first(store: Store) -> None:
    settings = ArchiveSettings(
        num_islands=1, edit_share=0.0, crossover_share=1.0, num_inspirations=3, temperature=10.0
    )
    archive = archive_with(store, settings, *(i / 10 for i in range(8)))
    rng = random.Random(1)
    uniforms = [rng.random() for _ in range(14)]
    drawn = archive.sample_parents(claimed(archive), uniforms)
    assert len({c.program.id for c in (*drawn.parents, *drawn.inspirations)}) == 5
    assert (drawn.operator, len(drawn.parents)) == ("crossover", 2)
    scores = [c.score for c in drawn.inspirations]
    assert scores == sorted(scores, reverse=True)


def test_a_small_island_gives_what_it_has(store: Store) -> None:
    archive = archive_with(store, QUIET, 0.25)
    drawn = archive.sample_parents(claimed(archive), HALVES)
    assert [c.score for c in drawn.parents] == [0.25]
    assert drawn.inspirations == ()


def test_programs_of_one_behaviour_are_still_all_drawn_from(store: Store) -> None:
    archive = store.archive("task", QUIET)
    archive.found([scored(f"twin{i}", 0.5, padding=i) for i in range(3)])
    drawn = archive.sample_parents(claimed(archive), HALVES)
    assert len({c.program.id for c in (*drawn.parents, *drawn.inspirations)}) == 3


def test_what_becomes_of_a_child(store: Store) -> None:
    archive = archive_with(store, QUIET, 0.5)
    child = scored("child", 1.0)
    commented = child.__class__(Program("# the same\n" + child.program.source), child.evaluation)
    broken = failed("broken", "memory")
    assert made(archive, child) is Commit.ADDED
    assert made(archive, commented) is Commit.DUPLICATE
    assert made(archive, broken) is Commit.FAILED
    assert made(archive, broken) is Commit.DUPLICATE
    progress = archive.progress()
    assert progress.outcomes == {"added": 1, "duplicate": 2, "failed": 1}
    assert progress.failures == {"memory": 1}
    assert progress.committed == 4
    assert [i.programs for i in progress.islands] == [2, 1]
    assert archive.candidate(child.program.id) == child
    assert archive.candidate(broken.program.id) == broken
    assert archive.candidate("0" * 16) is None
    assert broken.program.id not in {c.program.id for c in archive.best(9)}


def test_a_repeated_commit_answers_alike_and_does_nothing_twice(store: Store) -> None:
    archive = archive_with(store, QUIET)
    ticket = claimed(archive)
    child = scored("child", 1.0)
    assert archive.commit(ticket, child, HALVES) is Commit.ADDED
    before = archive.progress(), archive.operations(), archive.best(9)
    assert archive.commit(ticket, child, HALVES) is Commit.ADDED
    assert (archive.progress(), archive.operations(), archive.best(9)) == before


def test_the_commit_of_an_earlier_holder_is_refused(store: Store) -> None:
    archive = archive_with(store, QUIET)
    stale = claimed(archive)
    holder = reclaimed(archive)
    before = archive.progress(), archive.operations()
    assert archive.commit(stale, scored("stale", 5.0), HALVES) is Commit.STALE_LEASE
    assert (archive.progress(), archive.operations()) == before
    assert archive.candidate(scored("stale", 5.0).program.id) is None
    assert archive.commit(holder, scored("child", 1.0), HALVES) is Commit.ADDED
    assert archive.commit(stale, scored("stale", 5.0), HALVES) is Commit.STALE_LEASE
    assert archive.progress().outcomes == {"added": 1}


def test_the_best_are_ordered_by_score_then_length_then_id(store: Store) -> None:
    archive = archive_with(store, QUIET, 0.0)
    children = [scored("a", 1.0, padding=9), scored("b", 1.0), scored("c", 1.0), scored("d", 2.0, padding=30)]
    for child in children:
        made(archive, child)
    ties = sorted(children[1:3], key=lambda c: c.program.id)
    assert archive.best(4) == [children[3], *ties, children[0]]
    assert archive.best(1) == [children[3]]
    assert archive.best(0) == []


def test_migration_sends_the_best_round_the_ring(store: Store) -> None:
    settings = ArchiveSettings(num_islands=3, proposals=9, migration_interval=3, migrants=1, reset_interval=0)
    archive = archive_with(store, settings, 0.0)
    for name, score in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        made(archive, scored(name, score))
    assert [(i.best, i.programs) for i in archive.progress().islands] == [(3.0, 3), (2.0, 3), (3.0, 3)]
    assert [c.score for c in archive.best(9)] == [3.0, 2.0, 1.0, 0.0]


def reset_archive(store: Store) -> Archive:
    """Four islands of bests 1, 4, 2, 3, of which the next commit but one resets the weaker half."""
    settings = ArchiveSettings(num_islands=4, proposals=40, migration_interval=0, reset_interval=6)
    archive = archive_with(store, settings, 0.0)
    for name, score in (("a", 1.0), ("b", 4.0), ("c", 2.0), ("d", 3.0)):
        made(archive, scored(name, score))
    return archive


def test_a_reset_refounds_the_weaker_half_from_the_survivor_drawn(store: Store) -> None:
    archive = reset_archive(store)
    made(archive, failed("e"))
    ticket = claimed(archive)
    archive.commit(ticket, failed("f"), [0.6, 0.0, 0.4, 0.0] * 2)
    islands = archive.progress().islands
    assert [(i.ref.epoch, i.best, i.programs) for i in islands] == [(1, 3.0, 1), (0, 4.0, 2), (1, 4.0, 1), (0, 3.0, 2)]
    assert archive.progress().upkeep["reset"] == 2
    assert [c.score for c in archive.best(9)] == [4.0, 3.0, 2.0, 1.0, 0.0]


def test_the_child_of_a_reset_island_is_stale_but_kept(store: Store) -> None:
    archive = reset_archive(store)
    on_weak = claimed(archive)
    assert on_weak.island.index == 0
    drawn = archive.sample_parents(on_weak, HALVES)
    made(archive, failed("e"))
    assert archive.progress().islands[0].ref.epoch == 0
    made(archive, failed("f"))
    assert archive.progress().islands[0].ref.epoch == 1
    child = scored("late", 9.0)
    assert archive.commit(on_weak, child, HALVES) is Commit.STALE_ISLAND
    assert archive.commit(on_weak, child, HALVES) is Commit.STALE_ISLAND
    assert archive.progress().islands[0].programs == 1
    assert archive.candidate(child.program.id) is not None
    assert archive.best(1) == [child]
    assert archive.progress().outcomes["stale_island"] == 1
    assert drawn.parents[0].score in (0.0, 1.0)


def test_a_later_holder_draws_anew_from_a_reset_island(store: Store) -> None:
    archive = reset_archive(store)
    lost = claimed(archive)
    archive.sample_parents(lost, HALVES)
    made(archive, failed("e"))
    made(archive, failed("f"))
    holder = reclaimed(archive)
    assert (holder.index, holder.island.epoch) == (lost.index, 1)
    assert archive.sample_parents(holder, HALVES).parents[0].score >= 3.0
    assert archive.commit(holder, scored("late", 9.0), HALVES) is Commit.ADDED


def test_one_island_alone_is_never_reset(store: Store) -> None:
    settings = ArchiveSettings(num_islands=1, proposals=4, migration_interval=1, reset_interval=1)
    archive = archive_with(store, settings, 0.0)
    for index in range(4):
        made(archive, scored(f"c{index}", float(index)))
    assert [(i.ref.epoch, i.programs) for i in archive.progress().islands] == [(0, 5)]
    assert archive.progress().done


def test_mistakes_of_the_caller_are_named(store: Store) -> None:
    archive = archive_with(store, QUIET)
    ticket = claimed(archive)
    unknown = ticket.__class__(5, 1, ticket.island)
    for call in (
        lambda: archive.sample_parents(unknown, HALVES),
        lambda: archive.renew([ticket, unknown]),
        lambda: archive.commit(unknown, scored("c", 1.0), HALVES),
    ):
        with pytest.raises(ValueError, match="never handed out"):
            call()
    for uniforms in ([0.5], [1.0] * 8, [-0.1] * 8):
        with pytest.raises(ValueError, match="uniforms"):
            archive.sample_parents(ticket, uniforms)
    with pytest.raises(ValueError, match="uniforms"):
        archive.commit(ticket, scored("c", 1.0), [])
    with pytest.raises(ValueError, match="nan"):
        archive.commit(ticket, scored("c", float("nan"), opponent=0.0), HALVES)
    archive.commit(ticket, scored("c", 1.0), HALVES)
    with pytest.raises(ValueError, match="without parents"):
        archive.sample_parents(ticket, HALVES)


@pytest.mark.parametrize("field", ["num_islands", "temperature", "return_scale", "lease_s"])
def test_settings_no_archive_can_work_with_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        ArchiveSettings(**{field: 0})


def test_the_recorded_operations_replay_to_the_same_archive(store: Store) -> None:
    settings = ArchiveSettings(num_islands=3, proposals=60, migration_interval=5, reset_interval=12, lease_s=1e9)
    rng = random.Random(7)
    uniforms = {i: [rng.random() for _ in range(12)] for i in range(60)}
    children = {i: scored(f"c{i}", rng.gauss(0, 1)) if i % 4 else failed(f"c{i}") for i in range(60)}
    original, replayed = (store.archive(name, settings) for name in ("original", "replayed"))
    for archive in (original, replayed):
        archive.found([scored("seed", 0.0)])
    held = []
    while not original.progress().done:
        ticket = original.claim("w") if rng.random() < 0.6 else None
        if ticket is not None:
            original.sample_parents(ticket, uniforms[ticket.index])
            held.append(ticket)
        elif held:
            ticket = held.pop(rng.randrange(len(held)))
            original.commit(ticket, children[ticket.index], uniforms[ticket.index])
    tickets = [claimed(replayed) for _ in range(60)]
    for operation, index in original.operations():
        if operation == "sample":
            replayed.sample_parents(tickets[index], uniforms[index])
        else:
            replayed.commit(tickets[index], children[index], uniforms[index])
    assert replayed.operations() == original.operations()
    assert replayed.progress() == original.progress()
    assert "stale_island" in original.progress().outcomes
    for first, second in zip(tickets, tickets, strict=True):
        assert original.sample_parents(first, HALVES) == replayed.sample_parents(second, HALVES)
