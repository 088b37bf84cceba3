"""What earlier searches found, judged anew: payoffs are data about programs, so a new meta-strategy only reweighs them.

The returns that a program earned in earlier searches of the same player stand; it plays only the opponents that it has
never met. The best of them found the islands of the new search, beside the incumbents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice

from evolve.archive.core import ArchiveSettings, in_order
from evolve.archive.store import Store
from evolve.candidate import Candidate
from evolve.match_scorer import stratified
from evolve.oracles.core import BestResponseTask
from evolve.oracles.promotion import unlike_first
from evolve.scoring import Evaluation, Failed, OpponentReturn, Scored, Scorer, ScoringTask

OPERATOR = "carried"
"""Of a founder that comes from an earlier search: its descent is told there."""


@dataclass(frozen=True)
class _Veteran:
    """A program of earlier searches with its latest evaluation, and what it earned from everyone it has met."""

    candidate: Candidate
    met: Mapping[str, OpponentReturn]

    def estimate(self, weights: Mapping[str, float]) -> float:
        """Return against the mixture; an opponent it has not met counts as the average of those it has."""
        average = sum(r.mean for r in self.met.values()) / len(self.met)
        return sum(w * (self.met[i].mean if i in self.met else average) for i, w in weights.items())


async def carried_over(
    store: Store, archive: ArchiveSettings, scorer: Scorer, task: BestResponseTask, count: int
) -> list[Candidate]:
    """Up to ``count`` programs of ``task.earlier``, the likeliest to do well first, evaluated in ``task.scoring``.

    Pooled programs and incumbents are not among them. Of programs that did exactly the same, one comes before copies.
    A program that fails against an opponent new to it is returned as failed.
    """
    if count < 1:
        return []
    weights = task.scoring.weights
    known = task.taken | {program.id for program in task.incumbents}
    veterans = {i: v for i, v in _veterans(store, archive, task.earlier).items() if i not in known}
    likeliest = sorted(
        veterans.values(),
        key=lambda v: (-v.estimate(weights), len(v.candidate.program.source), v.candidate.program.id),
    )
    chosen = list(islice(unlike_first(veteran.candidate for veteran in likeliest), count))
    evaluations = await asyncio.gather(
        *(_evaluate(store, scorer, task.scoring, veterans[candidate.program.id]) for candidate in chosen)
    )
    return [Candidate(c.program, e, operator=OPERATOR) for c, e in zip(chosen, evaluations, strict=True)]


def _veterans(store: Store, settings: ArchiveSettings, tasks: tuple[str, ...]) -> dict[str, _Veteran]:
    veterans: dict[str, _Veteran] = {}
    for task_id in tasks:
        archive = store.archive(task_id, settings)
        for candidate in in_order(archive):
            assert isinstance(candidate.evaluation, Scored)
            before = veterans.get(candidate.program.id)
            met = {**(before.met if before else {}), **candidate.evaluation.by_opponent}
            veterans[candidate.program.id] = _Veteran(candidate, met)
    return veterans


async def _evaluate(store: Store, scorer: Scorer, task: ScoringTask, veteran: _Veteran) -> Evaluation:
    """From what is known and, against opponents it has never met, from this search's matches.

    These are kept in the store at once, so that a search that starts again does not play them again. It keeps their
    returns and no transcript; so the transcript is the earlier search's in any case, lest prompts tell of the kill."""
    program, met, last = veteran.candidate.program, dict(veteran.met), veteran.candidate.evaluation
    assert isinstance(last, Scored)
    block = f"search:{task.seed}:{task.matches_per_opponent}:{task.player}"
    for opponent in task.weights:
        if opponent not in met and (cached := store.payoffs.get(program.id, opponent, block)) is not None:
            met[opponent] = cached
    levels = [last.level]
    unmet = {key: weight for key, weight in task.weights.items() if key not in met}
    if unmet:
        evaluation = await scorer.score(program, replace(task, weights=unmet))
        if isinstance(evaluation, Failed):
            return evaluation
        for opponent_id, payoff in evaluation.by_opponent.items():
            store.payoffs.put(program.id, opponent_id, block, payoff)
        met.update(evaluation.by_opponent)
        levels.append(evaluation.level)
    result = stratified({i: met[i] for i in task.weights}, task)
    level = min((level for level in levels if level is not None), default=None)
    return replace(result, transcript=last.transcript, level=level)
