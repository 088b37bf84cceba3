"""Programs of earlier searches found the next one: judged by known payoffs, playing only opponents new to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from evolve.candidate import Candidate
from evolve.oracles.archive_search import ArchiveSearch, Effort
from evolve.oracles.best_of_n import Sampler, shape
from evolve.oracles.carry_over import OPERATOR, carried_over
from evolve.oracles.core import BestResponseTask, FoundersFailedError, Response
from evolve.program import Program
from evolve.scoring import Evaluation, Failed, Scored, ScoringTask
from tests.evolve.oracles.toys import (
    SEED,
    ScriptedLLM,
    ToyScorer,
    World,
    answer,
    by_index,
    program,
    scoring,
    strength_of,
    task,
)

ANSWERS = [answer(s) for s in (1.0, 4.0, 2.0)]


def second(opponents: dict[float, float], **changes: object) -> BestResponseTask:
    later = replace(task(opponents, name="br-001"), earlier=("br-000",))
    return replace(later, scoring=replace(later.scoring, seed=8), **changes)  # type: ignore[arg-type]


async def respond(world: World, work: BestResponseTask, count: int) -> Response:
    setup = replace(world.setup(), carry_over=count, archive=shape(world.archive, Effort(samples=3)))
    return await ArchiveSearch(setup, Sampler(setup)).respond(work)


async def after_first_search(answers: Sequence[str] = ANSWERS) -> World:
    world = World(ScriptedLLM(by_index(answers)))
    await respond(world, task({3.0: 1.0}), 0)
    world.scorer.asked.clear()
    return world


def carried(world: World, work: BestResponseTask, count: int) -> list[Candidate]:
    archive = shape(world.archive, Effort(samples=3))
    return asyncio.run(carried_over(world.store, archive, world.scorer, work, count))


def test_known_payoffs_are_reweighed_without_a_match() -> None:
    world = asyncio.run(after_first_search())
    best, *others = carried(world, second({3.0: 1.0}), 2)
    assert [best.program, others[0].program] == [program(4.0), program(2.0)]
    assert best.operator == OPERATOR
    assert isinstance(best.evaluation, Scored)
    assert best.evaluation.mean_return == 1.0
    assert not world.scorer.asked


def test_only_opponents_never_met_are_played_and_with_the_seeds_of_the_new_search() -> None:
    world = asyncio.run(after_first_search())
    work = second({3.0: 0.25, 5.0: 0.75})
    (best,) = carried(world, work, 1)
    assert [(i, list(t.weights), t.seed) for i, t in world.scorer.asked] == [(program(4.0).id, [program(5.0).id], 8)]
    assert isinstance(best.evaluation, Scored)
    assert best.evaluation.by_opponent.keys() == work.scoring.weights.keys()
    assert best.evaluation.mean_return == pytest.approx(0.25 * 1.0 + 0.75 * -1.0)


def test_the_new_mixture_decides_who_is_carried() -> None:
    """Good against one opponent, bad against the other: which of the two is played more decides."""
    returns = {(2.0, 3.0): 9.0, (2.0, 5.0): -9.0, (4.0, 3.0): 1.0, (4.0, 5.0): 1.0}

    class Specialists(ToyScorer):
        async def score(self, program: Program, task: ScoringTask) -> Evaluation:
            found = await super().score(program, task)
            assert isinstance(found, Scored)
            strengths = {i: strength_of(o) for i, (o,) in task.lineups().items()}
            rows = {
                i: replace(r, mean=returns.get((strength_of(program), strengths[i]), r.mean))
                for i, r in found.by_opponent.items()
            }
            return replace(found, by_opponent=rows)

    world = World(ScriptedLLM(by_index(ANSWERS)), Specialists())
    asyncio.run(respond(world, task({3.0: 0.5, 5.0: 0.5}), 0))
    assert carried(world, second({3.0: 1.0}), 1)[0].program == program(2.0)
    assert carried(world, second({5.0: 1.0}), 1)[0].program == program(4.0)


def test_pooled_programs_and_incumbents_are_not_carried() -> None:
    world = asyncio.run(after_first_search())
    taken = second({3.0: 1.0}, taken=frozenset({SEED.id, program(4.0).id}))
    assert [c.program for c in carried(world, taken, 9)] == [program(2.0), program(1.0)]
    incumbent = second({3.0: 1.0}, incumbents=(SEED, program(2.0)))
    assert [c.program for c in carried(world, incumbent, 9)] == [program(4.0), program(1.0)]


def test_copies_do_not_take_the_places_of_others() -> None:
    copies = [answer(4.0), answer("4.00"), answer(2.0)]
    world = asyncio.run(after_first_search(copies))
    assert [strength_of(c.program) for c in carried(world, second({3.0: 1.0}), 2)] == [4.0, 2.0]


def test_a_search_starts_from_what_is_carried_and_says_how_many() -> None:
    world = asyncio.run(after_first_search())
    world = replace(world, llm=ScriptedLLM(lambda prompt: answer(0.5)))
    response = asyncio.run(respond(world, second({3.0: 0.5, 5.0: 0.5}), 2))
    assert response.carried == 2
    archive = world.store.archive("br-001", world.archive)
    founder = archive.candidate(program(4.0).id)
    assert founder is not None
    assert founder.operator == OPERATOR
    assert response.best is not None
    assert response.best.candidate.program == program(4.0)


def test_nothing_is_carried_unless_asked_for() -> None:
    world = asyncio.run(after_first_search())
    world = replace(world, llm=ScriptedLLM(lambda prompt: answer(0.5)))
    assert asyncio.run(respond(world, second({3.0: 1.0}), 0)).carried == 0
    assert world.store.archive("br-001", world.archive).candidate(program(4.0).id) is None


class KilledError(Exception):
    pass


class MortalScorer(ToyScorer):
    """Dies at call number ``last``; counts the matches that were played to their end."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last: int | None = last
        self.played: Counter[tuple[str, str, int]] = Counter()

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        if self.last is not None:
            self.last -= 1
            if self.last < 0:
                raise KilledError
        found = await super().score(program, task)
        for opponent in task.weights:
            self.played[program.id, opponent, task.seed] += 1
        return replace(found, transcript=f"with seed {task.seed}") if isinstance(found, Scored) else found


@pytest.mark.parametrize("killed_at", range(12))
def test_a_search_killed_anywhere_plays_no_match_of_a_carried_program_twice(killed_at: int) -> None:
    world = asyncio.run(after_first_search())
    scorer = MortalScorer(killed_at)
    work = second({3.0: 0.25, 5.0: 0.75})
    world = replace(world, scorer=scorer, llm=ScriptedLLM(lambda prompt: answer(0.5)))
    with contextlib.suppress(KilledError):
        asyncio.run(respond(world, work, 3))
    scorer.last = None
    response = asyncio.run(respond(world, work, 3))
    assert response.carried == 3
    veterans = {program(s).id for s in (1.0, 2.0, 4.0)}
    of_veterans = {key: n for key, n in scorer.played.items() if key[0] in veterans and key[2] == work.scoring.seed}
    assert of_veterans == {(i, program(5.0).id, 8): 1 for i in veterans}
    # A replay knows of no kill, and must be told the same by its prompts.
    alone = asyncio.run(after_first_search())
    never_killed = {c.program.id: c for c in carried(alone, work, 3)}
    archive = world.store.archive("br-001", world.archive)
    assert {i: archive.candidate(i) for i in veterans} == never_killed


def test_a_founded_search_that_starts_again_scores_no_founder() -> None:
    world = asyncio.run(after_first_search())
    asyncio.run(respond(world, task({3.0: 1.0}), 0))
    seeds = [t.seed for _, t in world.scorer.asked]
    assert scoring({3.0: 1.0}).seed not in seeds


def test_founders_that_all_fail_are_told_in_one_line() -> None:
    world = World(ScriptedLLM(by_index(ANSWERS)))
    broken = replace(task({3.0: 1.0}), incumbents=(program("crash"),))
    with pytest.raises(FoundersFailedError, match=r"none of the 1 programs .* runtime_error: ValueError") as error:
        asyncio.run(respond(world, broken, 0))
    assert "\n" not in str(error.value)


def test_a_carried_program_that_fails_is_no_founder() -> None:
    class Picky(ToyScorer):
        async def score(self, program: Program, task: ScoringTask) -> Evaluation:
            if task.seed == 8 and strength_of(program) == 4.0:
                return Failed("match", "timeout", "too slow")
            return await super().score(program, task)

    world = replace(asyncio.run(after_first_search()), scorer=Picky())
    found = carried(world, second({5.0: 1.0}), 2)
    assert [isinstance(c.evaluation, Failed) for c in found] == [True, False]
