"""What the archives offer beyond islands and clusters, asked of both: each feature on, and off by its setting."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from archive_builders import HALVES, claimed, failed, made, reclaimed, scored

from evolve.archive.core import Archive, ArchiveSettings, Commit, Elite, Findings, Parents
from evolve.archive.progress import Yield
from evolve.archive.store import Store
from evolve.candidate import Candidate
from evolve.scoring import OpponentReturn, Scored

BASE = ArchiveSettings(num_islands=1, proposals=400, edit_share=0.0, migration_interval=0, reset_interval=0)


def against(name: str, **means: float) -> Candidate:
    """A program with these returns against opponents of equal weight."""
    results = {opponent: OpponentReturn(mean, 0.1, 8) for opponent, mean in means.items()}
    return replace(scored(name, 0.0), evaluation=Scored(sum(means.values()) / len(means), 0.1, results))


def with_traits(name: str, score: float, traits: tuple[float, float], padding: int = 0) -> Candidate:
    made = scored(name, score, padding=padding)
    assert isinstance(made.evaluation, Scored)
    return replace(made, evaluation=replace(made.evaluation, traits=traits))


def draws(archive: Archive, count: int) -> list[Parents]:
    rng = np.random.default_rng(5)
    return [archive.sample_parents(claimed(archive), rng.random(12).tolist()) for _ in range(count)]


def founded(store: Store, settings: ArchiveSettings, *founders: Candidate) -> Archive:
    archive = store.archive("task", settings)
    archive.found(list(founders))
    return archive


SPECIALISTS = (against("all", a=0.5, b=0.5), against("one", a=0.9, b=-0.9), against("two", a=-0.9, b=0.9))


def test_a_specialist_is_drawn_that_its_mean_would_hide(store: Store) -> None:
    cold = replace(BASE, temperature=1e-3, num_inspirations=0)
    without = Counter(d.parents[0].program.id for d in draws(founded(store, cold, *SPECIALISTS), 60))
    assert set(without) == {SPECIALISTS[0].program.id}
    archive = store.archive("other", replace(cold, specialist_share=0.5))
    archive.found(list(SPECIALISTS))
    with_them = Counter(d.parents[0].program.id for d in draws(archive, 60))
    assert all(10 < with_them[s.program.id] < 25 for s in SPECIALISTS[1:])
    assert archive.progress().upkeep["specialists"] == pytest.approx(30, abs=10)


def test_a_specialist_survives_the_reset_of_its_island(store: Store) -> None:
    settings = replace(BASE, num_islands=2, reset_interval=2, specialist_share=1.0, num_inspirations=0)
    archive = founded(store, settings, against("seed", a=0.0, b=0.0))
    made(archive, against("one", a=0.9, b=-2.0))
    made(archive, against("two", a=0.1, b=0.1))
    assert archive.progress().islands[0].ref.epoch == 1 and archive.progress().islands[0].programs == 1
    assert against("one", a=0.9, b=-2.0).program.id in {d.parents[0].program.id for d in draws(archive, 40)}


def test_a_cell_keeps_its_best_and_all_cells_are_equally_likely(store: Store) -> None:
    best, rival, odd = (
        with_traits("best", 1.0, (0.1, 0.1)),
        with_traits("rival", 0.9, (0.15, 0.19)),
        with_traits("odd", -5.0, (0.9, 0.1)),
    )
    settings = replace(BASE, selection="map_elites", num_inspirations=0, temperature=1e-3)
    drawn = Counter(d.parents[0].program.id for d in draws(founded(store, settings, rival, odd, best), 100))
    assert set(drawn) == {best.program.id, odd.program.id}
    assert 30 < drawn[odd.program.id] < 70
    clusters = store.archive("other", replace(settings, selection="clusters"))
    clusters.found([rival, odd, best])
    assert odd.program.id not in {d.parents[0].program.id for d in draws(clusters, 100)}


def test_of_equal_programs_a_cell_keeps_the_shorter(store: Store) -> None:
    long, short = with_traits("p", 1.0, (0.5, 0.5), padding=50), with_traits("p", 1.0, (0.5, 0.5))
    archive = founded(store, replace(BASE, selection="map_elites"), long, short)
    assert {d.parents[0].program.id for d in draws(archive, 10)} == {short.program.id}


def test_a_bias_to_short_programs_can_be_turned_off(store: Store) -> None:
    twins = [scored("p", 1.0, padding=padding) for padding in (0, 4000)]
    biased = replace(BASE, length_temperature=0.2, num_inspirations=0)
    for name, settings, low, high in (
        ("on", biased, 0.9, 1.0),
        ("off", replace(biased, length_temperature=0), 0.35, 0.65),
    ):
        archive = store.archive(name, settings)
        archive.found(twins)
        share = np.mean([d.parents[0].program.id == twins[0].program.id for d in draws(archive, 100)])
        assert low <= share <= high


def test_random_migration_goes_to_any_other_island(store: Store) -> None:
    settings = replace(BASE, num_islands=4, migration="random", migration_interval=4)
    targets = []
    for k, uniform in enumerate((0.0, 0.4, 0.99)):
        archive = store.archive(f"task {k}", settings)
        archive.found([scored("seed", 0.0)])
        made(archive, scored("star", 5.0))
        for name in ("x", "y"):
            made(archive, failed(name))
        archive.commit(claimed(archive), failed("z"), [0.0] * 4 + [uniform] * 4)
        targets.append([i.best == 5.0 for i in archive.progress().islands].index(True, 1))
        assert archive.progress().upkeep["migrated"] == 1
    assert targets == [1, 2, 3]


def test_a_stagnant_island_explores_until_it_finds_better(store: Store) -> None:
    settings = replace(BASE, edit_share=1.0, stagnation_limit=3, temperature=1e-3, num_inspirations=0)
    archive = founded(store, settings, scored("good", 1.0), scored("bad", 0.99, opponent=0.5))
    first = draws(archive, 30)
    assert {d.operator for d in first} == {"edit"} and len({d.parents[0].program.id for d in first}) == 1
    for name in ("x", "y", "z"):
        made(archive, failed(name))
    assert archive.progress().islands[0].stalled == 3
    stuck = draws(archive, 30)
    assert {d.operator for d in stuck} == {"full"} and len({d.parents[0].program.id for d in stuck}) == 2
    assert archive.progress().upkeep == {"explored": 30}
    made(archive, scored("better", 1.1))
    assert archive.progress().islands[0].stalled == 0
    assert {d.operator for d in draws(archive, 5)} == {"edit"}


def test_a_stagnant_island_is_founded_anew_where_that_is_asked_for(store: Store) -> None:
    settings = replace(BASE, num_islands=2, stagnation_limit=2, stagnation_action="reseed")
    archive = founded(store, settings, scored("seed", 0.0))
    for k in range(4):
        made(archive, failed("f") if k % 2 == 0 else scored(f"s{k}", float(k)))
    first, second = archive.progress().islands
    assert (first.ref.epoch, first.best, first.programs, first.stalled) == (1, 1.0, 1, 0)
    assert (second.ref.epoch, second.best) == (0, 3.0)
    assert archive.progress().reseeded == 1


def test_without_a_limit_no_island_is_ever_stagnant(store: Store) -> None:
    archive = founded(store, replace(BASE, edit_share=1.0), scored("seed", 0.0))
    for k in range(30):
        made(archive, failed(f"f{k}"))
    assert {d.operator for d in draws(archive, 5)} == {"edit"}
    assert archive.progress().reseeded == 0


def revised(archive: Archive, elite: Elite, score: float | None, name: str) -> Commit:
    evaluation = failed("x").evaluation if score is None else scored("x", score).evaluation
    return archive.commit(claimed(archive), failed(name), HALVES, Findings(elite=elite, revised=evaluation))


def elite_of(archive: Archive) -> Elite:
    ticket = claimed(archive)
    drawn = archive.sample_parents(ticket, HALVES)
    archive.commit(ticket, failed(f"child of {ticket.index}"), HALVES)
    assert drawn.elite is not None
    return drawn.elite


def test_an_elite_that_falls_leaves_its_place_everywhere(store: Store) -> None:
    settings = replace(BASE, num_islands=2, rescore_interval=1)
    archive = founded(store, settings, scored("lucky", 5.0, opponent=1.0), scored("sound", 1.0))
    elite = elite_of(archive)
    assert (elite.candidate.score, elite.revision) == (5.0, 0)
    before = archive.progress().committed
    revised(archive, elite, 0.5, "a")
    assert [c.score for c in archive.best(2)] == [1.0, 0.5]
    assert [(i.best, i.mean) for i in archive.progress().islands] == [(1.0, 0.75)] * 2
    lucky = archive.candidate(elite.candidate.program.id)
    assert lucky is not None and lucky.score == 0.5
    old, new = archive.seen(lucky.program.id, before), archive.seen(lucky.program.id, before + 1)
    assert old is not None and new is not None
    assert (old.score, new.score) == (5.0, 0.5)
    effort = archive.progress().effort
    assert (effort.rescored, effort.false_elites) == (1, 1)


def test_of_two_rescorings_of_one_elite_the_first_counts(store: Store) -> None:
    archive = founded(store, replace(BASE, rescore_interval=1), scored("a", 5.0), scored("b", 1.0))
    elite = elite_of(archive)
    revised(archive, elite, 4.0, "x")
    revised(archive, elite, -9.0, "y")
    assert archive.best(1)[0].score == 4.0
    again = elite_of(archive)
    assert (again.candidate.score, again.revision) == (4.0, 1)
    assert archive.progress().effort.rescored == 1


def test_an_elite_that_fails_is_not_promoted_and_an_island_is_never_empty(store: Store) -> None:
    archive = founded(store, replace(BASE, rescore_interval=1), scored("a", 5.0), scored("b", 1.0))
    revised(archive, elite_of(archive), None, "x")
    assert [c.score for c in archive.best(9)] == [1.0]
    revised(archive, elite_of(archive), None, "y")
    assert archive.best(9) == []
    assert archive.progress().islands[0].programs == 1
    assert len(draws(archive, 1)[0].parents) == 1


def test_without_an_interval_no_elite_is_drawn(store: Store) -> None:
    archive = founded(store, BASE, scored("a", 5.0))
    assert all(d.elite is None and d.recent == () for d in draws(archive, 20))


def test_what_a_proposal_was_made_from_stays_whatever_is_revised(store: Store) -> None:
    archive = founded(store, replace(BASE, rescore_interval=1, lease_s=10.0), scored("a", 5.0), scored("b", 1.0))
    elite = elite_of(archive)
    ticket = claimed(archive)
    drawn = archive.sample_parents(ticket, HALVES)
    revised(archive, elite, 0.0, "x")
    heir = reclaimed(archive)
    assert heir.index == ticket.index
    assert archive.sample_parents(heir, HALVES) == drawn


def test_seen_answers_as_of_a_moment(store: Store) -> None:
    archive = founded(store, BASE, scored("seed", 0.0))
    child = scored("child", 1.0)
    assert isinstance(child.evaluation, Scored)
    child = replace(child, evaluation=replace(child.evaluation, behaviour="moves-1"))
    made(archive, failed("x"))
    made(archive, child)
    made(archive, replace(scored("twin", 1.0), evaluation=child.evaluation))
    assert archive.seen(scored("seed", 0.0).program.id, 0) is not None
    for name in (child.program.id, "moves-1"):
        assert archive.seen(name, 1) is None
        assert archive.seen(name, 2) == archive.seen(name, 99) == child
    assert archive.seen("moves-2", 99) is None


@pytest.mark.parametrize("evaluation", [1.0, None])
def test_a_commit_and_its_event_are_one_step(store: Store, evaluation: float | None) -> None:
    archive = founded(store, replace(BASE, lease_s=1.0), scored("seed", 0.0))
    lost, child = claimed(archive), failed("c") if evaluation is None else scored("c", evaluation)
    holder = reclaimed(archive)

    def event(outcome: Commit) -> dict[str, object]:
        return {"type": "commit", "outcome": str(outcome)}

    assert archive.commit(lost, child, HALVES, event=event) is Commit.STALE_LEASE
    assert store.events() == []
    outcome = archive.commit(holder, child, HALVES, event=event)
    assert archive.commit(holder, child, HALVES, event=event) is outcome
    made(archive, scored("without an event", 1.0))
    assert store.events() == [event(outcome)]


def test_yields_are_counted_per_operator_and_variant(store: Store) -> None:
    archive = founded(store, replace(BASE, variants=("plain",)), scored("seed", 0.0))
    for child, improved in ((scored("a", 1.0), True), (scored("b", 0.5), False), (failed("c"), False)):
        ticket = claimed(archive)
        assert archive.sample_parents(ticket, HALVES).variant == "plain"
        findings = Findings(improved, played=4, saved_by_racing=3, saved_by_novelty=2)
        archive.commit(ticket, replace(child, operator="edit"), HALVES, findings)
    progress = archive.progress()
    assert progress.operators == {"edit": Yield(3, 2, 1)}
    assert progress.variants == {"plain": Yield(3, 2, 1)}
    assert (progress.effort.played, progress.effort.saved_by_racing, progress.effort.saved_by_novelty) == (12, 9, 6)


def test_shares_that_exceed_the_whole_are_refused() -> None:
    with pytest.raises(ValueError, match="together must not exceed 1"):
        ArchiveSettings(edit_share=0.5, crossover_share=0.3, fix_share=0.3)
