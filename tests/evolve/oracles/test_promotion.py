"""Promotion: chosen on one block of fresh seeds, reported on another, never by luck on the search's own seeds."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.candidate import Candidate
from evolve.oracles.core import BestResponse, BestResponseTask
from evolve.oracles.promotion import FINALISTS, promote
from evolve.program import Program
from evolve.scoring import Scored
from games.seeds import match_seed
from tests.evolve.oracles.toys import ToyScorer, program, strength_of, task

TASK = task({0.0: 1.0})


def ranked(*strengths: float) -> list[Candidate]:
    """In the order given, as the search's (lucky) scores would have it."""
    return [Candidate(program(s), Scored(100.0 - k, 1.0, {})) for k, s in enumerate(strengths)]


def promoted(candidates: list[Candidate], scorer: ToyScorer, task: BestResponseTask = TASK) -> BestResponse | None:
    return asyncio.run(promote(task, candidates, scorer)).best


def test_the_best_finalist_on_fresh_seeds_wins_whatever_the_search_said() -> None:
    scorer = ToyScorer()
    best = promoted(ranked(*range(FINALISTS), 99), scorer)  # the last of them is no finalist
    assert best is not None and best.candidate.program == program(FINALISTS - 1)
    assert best.fresh.mean_return == FINALISTS - 1
    assert len(scorer.asked) == FINALISTS + 1


def test_copies_of_a_lucky_program_do_not_take_all_places() -> None:
    copies = [replace(c, evaluation=Scored(100.0, 1.0, {})) for c in ranked(*range(1, FINALISTS + 1))]
    other = replace(ranked(50)[0], evaluation=Scored(90.0, 1.0, {}))
    best = promoted([*copies, other], ToyScorer())
    assert best is not None and best.candidate.program == program(50)


def test_choice_and_report_have_seeds_of_their_own() -> None:
    scorer = ToyScorer()
    promoted(ranked(1, 2), scorer)
    choosing, report = scorer.asked[:-1], scorer.asked[-1]
    assert {t.seed for _, t in choosing} == {match_seed(TASK.fresh_seed, "choose")}
    assert report[1].seed == match_seed(TASK.fresh_seed, "report")
    assert len({TASK.scoring.seed, choosing[0][1].seed, report[1].seed}) == 3
    assert {t.matches_per_opponent for _, t in scorer.asked} == {TASK.fresh_matches_per_opponent}


def test_programs_of_the_pool_are_passed_over() -> None:
    candidates = ranked(9, 1)
    best = promoted(candidates, ToyScorer(), replace(TASK, taken=frozenset({candidates[0].program.id})))
    assert best is not None and best.candidate is candidates[1]
    assert promoted(candidates[:1], ToyScorer(), replace(TASK, taken=frozenset({candidates[0].program.id}))) is None
    assert promoted([], ToyScorer()) is None


def test_who_fails_on_fresh_seeds_is_passed_over() -> None:
    def fails_when_reported(p: Program, seed: int) -> float:
        if p == program(9) and seed == match_seed(TASK.fresh_seed, "report"):
            raise ValueError("unlucky")
        if p == program(8):
            raise ValueError("always")
        return 0.0

    best = promoted(ranked(9, 8, 2, 1), ToyScorer(fails_when_reported))
    assert best is not None and best.candidate.program == program(2)
    everyone_fails = ToyScorer(lambda p, seed: float("x" if strength_of(p) > 1 else "0"))
    best = promoted(ranked(*range(2, 2 + FINALISTS), 1), everyone_fails)
    assert best is not None and best.candidate.program == program(1)  # of the next finalists
    assert promoted(ranked(9, 8), everyone_fails) is None


def noise(p: Program, seed: int) -> float:
    """Luck that depends on program and seed alone, of a spread that dwarfs the differences."""
    return (match_seed(seed, p.id) % 2001 - 1000) / 10


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=2 * FINALISTS, unique=True))
def test_the_report_is_not_the_maximum_it_was_chosen_by(strengths: list[int]) -> None:
    best = promoted(ranked(*strengths), ToyScorer(noise))
    assert best is not None
    own = strength_of(best.candidate.program)
    assert best.fresh.mean_return == own + noise(best.candidate.program, match_seed(TASK.fresh_seed, "report"))
    finalists = [program(s) for s in strengths[:FINALISTS]]
    chosen_by = {p.id: strength_of(p) + noise(p, match_seed(TASK.fresh_seed, "choose")) for p in finalists}
    assert chosen_by[best.candidate.program.id] == max(chosen_by.values())
