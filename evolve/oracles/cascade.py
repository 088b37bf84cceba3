"""Evaluation in stages: a few matches, then more, then all, each spent only where it can still change a decision.

A child meets the seeds that its parent met (common random numbers), so the two are compared match by match, and a child
that is worse beyond doubt plays no further (racing; Maron and Moore 1994, Birattari et al. 2002). One that makes the
same moves as a known program in its first matches takes over that program's evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as student

from evolve.archive.core import Elite
from evolve.behaviour import PROBE_MATCHES
from evolve.candidate import Candidate
from evolve.empirical_game import pooled
from evolve.match_scorer import stratified
from evolve.program import Program
from evolve.scoring import Evaluation, Failed, Scored, Scorer, ScoringTask


@dataclass(frozen=True)
class CascadeSettings:
    """``racing`` ends an evaluation once the child is worse than its parent at this ``confidence``, all looks together;
    ``novelty`` once its first moves are those of a known program, or before any match if its normalised text is. The
    first look comes after ``probe_matches`` per opponent: the referee steps the matches of a stage together, so that
    fewer would hardly cost less time."""

    racing: bool = False
    novelty: bool = False
    confidence: float = 0.95
    probe_matches: int = 8


@dataclass(frozen=True)
class Assessment:
    """An evaluation, and the matches that it took and that it did without."""

    evaluation: Evaluation
    played: int
    saved_by_racing: int = 0
    saved_by_novelty: int = 0


def stages(matches: int, settings: CascadeSettings) -> list[int]:
    """Matches per opponent by the end of each stage: few, more (their geometric mean, if that is twice as many as the
    one and half of the other), all."""
    few = max(settings.probe_matches, PROBE_MATCHES)
    if few >= matches or not (settings.racing or settings.novelty):
        return [matches]
    more = 2 * round(math.sqrt(few * matches) / 2)  # even: seats take turns
    return [few, more, matches] if settings.racing and 2 * few <= more <= matches / 2 else [few, matches]


async def assess(
    program: Program,
    task: ScoringTask,
    scorer: Scorer,
    settings: CascadeSettings,
    rival: Evaluation,
    known: Callable[[str], Awaitable[Candidate | None]],
) -> Assessment:
    """Scores ``program``. ``rival`` is its parent's evaluation, ``known`` finds programs by behaviour.

    A program that was stopped early is scored on the matches that it played. Raises what the scorer raises."""
    plan = stages(task.matches_per_opponent, settings)
    opponents = len(task.weights)
    total, level = plan[-1] * opponents, 1 - (1 - settings.confidence) / max(1, len(plan) - 1)
    so_far: Scored | None = None
    done = 0
    for end in plan:
        stage = replace(task, first_match=done, matches_per_opponent=end - done)
        evaluation = await scorer.score(program, stage)
        played, done = end * opponents, end
        if isinstance(evaluation, Failed):
            return Assessment(evaluation, played)
        so_far = evaluation if so_far is None else continued(so_far, evaluation, task)
        if end == plan[-1]:
            break
        if settings.novelty and so_far.behaviour and (twin := await known(so_far.behaviour)) is not None:
            return Assessment(twin.evaluation, played, saved_by_novelty=total - played)
        if settings.racing and is_worse(so_far, rival, task.weights, level):
            return Assessment(so_far, played, saved_by_racing=total - played)
    assert so_far is not None  # a plan has a stage
    return Assessment(so_far, total)


def continued(before: Scored, further: Scored, task: ScoringTask) -> Scored:
    """One evaluation over both sets of matches, ``further`` being the later ones."""
    by_opponent = {key: pooled(result, further.by_opponent[key]) for key, result in before.by_opponent.items()}
    total = stratified(by_opponent, task)
    worst = min(by_opponent, key=lambda key: by_opponent[key].mean)
    later = further.transcript_opponent == worst != before.transcript_opponent
    levels = [each for each in (before.level, further.level) if each is not None]
    return replace(
        before,
        mean_return=total.mean_return,
        stderr=total.stderr,
        by_opponent=by_opponent,
        transcript=further.transcript if later else before.transcript,
        transcript_opponent=worst if later else before.transcript_opponent,
        level=min(levels, default=None),
        welfare=before.welfare + further.welfare,
        returns={key: before.returns.get(key, ()) + values for key, values in further.returns.items()},
    )


def is_worse(child: Scored, rival: Evaluation, weights: Mapping[str, float], confidence: float) -> bool:
    """Is the child's return below the rival's, by a one-sided t test on the differences of matches of equal seeds?

    Never where a rival's matches are not known one by one, or an opponent was met but once."""
    if isinstance(rival, Failed):
        return False
    difference, variance, freedom = 0.0, 0.0, 0
    for key, weight in weights.items():
        own, other = child.returns.get(key, ()), rival.returns.get(key, ())
        count = min(len(own), len(other))
        if count < PROBE_MATCHES:
            return False
        gaps = np.asarray(own[:count]) - np.asarray(other[:count])
        difference += weight * float(gaps.mean())
        variance += weight**2 * float(gaps.var(ddof=1)) / count
        freedom += count - 1
    return difference + float(student.ppf(confidence, freedom)) * math.sqrt(variance) < 0


async def rescored(elite: Elite, task: ScoringTask, scorer: Scorer) -> Evaluation:
    """The elite's evaluation with as many matches again, on seeds that follow those it has met."""
    before = elite.candidate.evaluation
    assert isinstance(before, Scored)
    met = max(before.by_opponent[key].matches for key in task.weights)
    further = await scorer.score(elite.candidate.program, replace(task, first_match=met))
    return further if isinstance(further, Failed) else continued(before, further, task)
