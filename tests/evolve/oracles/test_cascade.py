"""Staged evaluation: when a child is stopped, whose evaluation a twin takes over, how a re-scoring continues one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from evolve.archive.core import Archive, ArchiveSettings, Elite
from evolve.archive.memory import MemoryStore
from evolve.candidate import Candidate
from evolve.match_scorer import stratified
from evolve.oracles.cascade import CascadeSettings, assess, continued, is_worse, rescored, stages
from evolve.oracles.evolver import Evolver, Search
from evolve.program import Program
from evolve.prompting import PromptSettings
from evolve.scoring import Evaluation, Failed, OpponentReturn, Scored, ScoringTask
from tests.evolve.oracles.toys import (
    GAME,
    SEED,
    ScriptedLLM,
    answer,
    index_of,
    program,
    scoring,
    strength_of,
    task,
)

RACING = CascadeSettings(racing=True, probe_matches=2)
NOVELTY = CascadeSettings(novelty=True, probe_matches=2)


@dataclass
class NoisyScorer:
    """Each match of a strength pays that strength plus noise of the match's seed, alike for all programs, and a little
    of the program's own. Programs of one strength show one behaviour."""

    own_noise: float = 0.0
    played: list[tuple[str, int, int]] = field(default_factory=list)

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        await asyncio.sleep(0)
        self.played.append((program.id, task.first_match, task.matches_per_opponent))
        try:
            strength = strength_of(program)
        except ValueError:
            return Failed("match", "runtime_error", "")
        numbers = range(task.first_match, task.first_match + task.matches_per_opponent)
        returns = {
            key: tuple(self._match(program, strength, task.seed, key, k) for k in numbers) for key in task.weights
        }
        results = {key: summary(values) for key, values in returns.items()}
        behaviour = f"strength {strength:g}" if task.first_match == 0 else ""
        worst = min(results, key=lambda key: results[key].mean)
        return replace(
            stratified(results, task),
            returns=returns,
            behaviour=behaviour,
            transcript=f"from match {task.first_match}",
            transcript_opponent=worst,
        )

    def _match(self, program: Program, strength: float, seed: int, key: str, k: int) -> float:
        shared = random.Random(f"{seed} {key} {k}").gauss(0, 5)
        own = random.Random(f"{seed} {key} {k} {program.id}").gauss(0, 1)
        return strength + shared + self.own_noise * own


def summary(returns: Sequence[float]) -> OpponentReturn:
    values = np.asarray(returns)
    return OpponentReturn(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5), len(values))


TASK = replace(scoring({3.0: 0.75, 4.0: 0.25}), matches_per_opponent=16)


async def evaluated(strength: float, of: ScoringTask = TASK, scorer: NoisyScorer | None = None) -> Scored:
    evaluation = await (scorer or NoisyScorer()).score(program(strength), of)
    assert isinstance(evaluation, Scored)
    return evaluation


@pytest.mark.parametrize(
    ("matches", "settings", "ends"),
    [
        (16, CascadeSettings(), [16]),
        (16, NOVELTY, [2, 16]),
        (16, RACING, [2, 6, 16]),
        (8, RACING, [2, 4, 8]),
        (7, RACING, [2, 7]),
        (2, RACING, [2]),
        (100, CascadeSettings(racing=True), [8, 28, 100]),
        (32, CascadeSettings(racing=True), [8, 16, 32]),
        (16, CascadeSettings(racing=True), [8, 16]),
        (8, CascadeSettings(racing=True, novelty=True), [8]),
    ],
)
def test_the_stages(matches: int, settings: CascadeSettings, ends: list[int]) -> None:
    assert stages(matches, settings) == ends


async def nobody(name: str) -> None:
    return None


async def test_a_survivor_is_scored_as_if_it_had_played_all_at_once() -> None:
    scorer, whole = NoisyScorer(), await evaluated(5.0)
    found = await assess(program(5.0), TASK, scorer, RACING, await evaluated(4.0), nobody)
    assert isinstance(found.evaluation, Scored)
    assert found.evaluation.returns == whole.returns
    assert found.evaluation.mean_return == pytest.approx(whole.mean_return)
    assert found.evaluation.stderr == pytest.approx(whole.stderr)
    assert (found.played, found.saved_by_racing) == (32, 0)
    assert [(first, count) for _, first, count in scorer.played] == [(0, 2), (2, 4), (6, 10)]


async def test_a_child_beaten_in_its_first_matches_plays_no_more() -> None:
    """Common seeds show at once what the noise would hide: it is five times the difference."""
    rival = await evaluated(5.0, scorer=NoisyScorer(own_noise=0.1))
    found = await assess(program(4.0), TASK, NoisyScorer(own_noise=0.1), RACING, rival, nobody)
    assert isinstance(found.evaluation, Scored)
    assert found.evaluation.matches == found.played < 32
    assert found.played + found.saved_by_racing == 32
    alone = await assess(program(4.0), TASK, NoisyScorer(own_noise=0.1), CascadeSettings(), rival, nobody)
    assert (alone.played, alone.saved_by_racing) == (32, 0)


async def test_a_child_as_good_as_its_parent_is_seldom_stopped() -> None:
    stopped = 0
    for seed in range(200):
        of = replace(TASK, seed=seed)
        rival = await evaluated(5.0, of, NoisyScorer(own_noise=3.0))
        twin = Program(program(5.0).source + f"    version = {seed}\n")
        found = await assess(twin, of, NoisyScorer(own_noise=3.0), RACING, rival, nobody)
        stopped += found.saved_by_racing > 0
    assert stopped / 200 < 0.09  # 5 % is what the confidence allows, all looks together


async def test_no_race_without_a_rival_whose_matches_are_known() -> None:
    child = await evaluated(-100.0)
    weights = TASK.weights
    assert is_worse(child, await evaluated(5.0), weights, 0.95)
    assert not is_worse(child, Failed("match", "timeout", ""), weights, 0.95)
    assert not is_worse(child, replace(await evaluated(5.0), returns={}), weights, 0.95)


async def test_a_twin_takes_over_the_evaluation_after_its_probe() -> None:
    known = Candidate(program(5.0), await evaluated(5.0))

    async def the_twin(name: str) -> Candidate | None:
        return {"strength 5": known}.get(name)

    twin = Program(program(5.0).source + "    unused = 1\n")
    found = await assess(twin, TASK, NoisyScorer(), NOVELTY, Failed("match", "timeout", ""), the_twin)
    assert found.evaluation == known.evaluation
    assert (found.played, found.saved_by_novelty) == (4, 28)


async def test_a_failure_ends_the_evaluation_in_its_stage() -> None:
    found = await assess(program("crash"), TASK, NoisyScorer(), RACING, await evaluated(5.0), nobody)
    assert isinstance(found.evaluation, Failed)
    assert (found.played, found.saved_by_racing) == (4, 0)


async def test_a_rescoring_continues_the_matches_that_were_played() -> None:
    half = replace(TASK, matches_per_opponent=8)
    scorer = NoisyScorer()
    before = await evaluated(5.0, half)
    found = await rescored(Elite(Candidate(program(5.0), before), 0), half, scorer)
    assert scorer.played == [(program(5.0).id, 8, 8)]
    assert isinstance(found, Scored)
    assert found.returns == (await evaluated(5.0)).returns
    assert found.stderr < before.stderr


async def test_the_transcript_is_of_the_opponent_it_says() -> None:
    first, second = await evaluated(5.0, replace(TASK, matches_per_opponent=2)), await evaluated(5.0)
    other = next(key for key in TASK.weights if key != first.transcript_opponent)
    worse = {**second.by_opponent, other: OpponentReturn(-99.0, 1.0, 16)}
    whole = continued(first, replace(second, by_opponent=worse, transcript="new", transcript_opponent=other), TASK)
    assert (whole.transcript, whole.transcript_opponent) == ("new", other)
    same = continued(first, replace(second, transcript="new", transcript_opponent=first.transcript_opponent), TASK)
    assert same.transcript == first.transcript


async def search(llm: ScriptedLLM, cascade: CascadeSettings, scorer: NoisyScorer, **values: object) -> Archive:
    shape = ArchiveSettings(num_islands=1, edit_share=0.0, migration_interval=0, reset_interval=0, return_scale=10.0)
    of = Search(
        replace(task(), scoring=TASK), replace(shape, **values), PromptSettings(), cascade  # type: ignore[arg-type]
    )  # fmt: skip
    store = MemoryStore("run")
    archive = store.archive("br-000", of.archive)
    archive.found([Candidate(SEED, await scorer.score(SEED, TASK))])
    await Evolver("e", of, GAME, store, llm, scorer).work(1)
    return archive


async def test_an_evolver_counts_what_racing_and_novelty_saved() -> None:
    worse = ScriptedLLM(lambda prompt: answer(-5 - index_of(prompt)))
    effort = (await search(worse, RACING, NoisyScorer(own_noise=0.1), proposals=6)).progress().effort
    assert effort.saved_by_racing > 0 and effort.played + effort.saved_by_racing == 6 * 32
    twins = ScriptedLLM(lambda prompt: answer(f"0.0\n    version = {index_of(prompt)}"))
    effort = (await search(twins, NOVELTY, NoisyScorer(), proposals=6)).progress().effort
    assert (effort.played, effort.saved_by_novelty) == (6 * 4, 6 * 28)  # they do what the founder does
    effort = (await search(twins, CascadeSettings(), NoisyScorer(), proposals=6)).progress().effort
    assert (effort.played, effort.saved_by_novelty, effort.saved_by_racing) == (6 * 32, 0, 0)


async def test_programs_of_equal_score_are_no_duplicates() -> None:
    """Same returns, other moves: both are scored in full and both are kept."""

    @dataclass
    class Lazy(NoisyScorer):
        async def score(self, program: Program, task: ScoringTask) -> Evaluation:
            found = await super().score(program, task)
            return replace(found, behaviour=program.id) if isinstance(found, Scored) and found.behaviour else found

    twins = ScriptedLLM(lambda prompt: answer(f"2.0\n    version = {index_of(prompt)}"))
    archive = await search(twins, NOVELTY, Lazy(), proposals=3)
    assert archive.progress().outcomes == {"added": 3}
    assert archive.progress().effort.saved_by_novelty == 0
    assert len({c.score for c in archive.best(3)}) == 1


async def test_a_false_elite_loses_its_place_once_it_plays_more() -> None:
    """The lucky one leads after few matches; its further ones show what it is worth."""

    @dataclass
    class Luck(NoisyScorer):
        def _match(self, program: Program, strength: float, seed: int, key: str, k: int) -> float:
            return strength + (9.0 if strength == 1 and k < 16 else 0.0) + 0.1 * (k % 2)

    script = ScriptedLLM(lambda prompt: answer(1 if index_of(prompt) == 0 else 4 + index_of(prompt) / 100))
    kept = await search(script, CascadeSettings(), Luck(), proposals=8)
    assert kept.best(1)[0].program.id == program(1).id
    archive = await search(script, CascadeSettings(), Luck(), proposals=8, rescore_interval=2)
    effort = archive.progress().effort
    assert effort.rescored >= 2 and effort.false_elites == 1
    assert archive.best(1)[0].program.id != program(1).id
    lucky = archive.candidate(program(1).id)
    assert lucky is not None and isinstance(lucky.evaluation, Scored)
    assert lucky.evaluation.matches > 32 and lucky.score < 6
