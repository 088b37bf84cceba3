"""The winner's curse, undone: candidates are chosen on one block of fresh seeds and reported on another.

The best of many noisy scores is too high (it was picked for its luck). So the top few of a search play again on seeds
the search never saw; the best of those plays once more, on further seeds, and only that last score is reported. Each of
them must also pass the replay audit (:mod:`sandbox.audit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from evolve.candidate import Candidate
from evolve.oracles.core import BestResponse, BestResponseTask, Rejection
from evolve.scoring import Evaluation, Failed, Scored, Scorer
from games.seeds import match_seed

FINALISTS = 6


@dataclass(frozen=True)
class Promotion:
    """The best response, if any finalist survived, and those who did not."""

    best: BestResponse | None
    rejected: tuple[Rejection, ...]


async def promote(task: BestResponseTask, ranked: Iterable[Candidate], scorer: Scorer) -> Promotion:
    """The best response among ``ranked`` (best first by the search's score), which is taken as far as needed.

    Programs already in the pool are passed over; those that fail on fresh seeds or in the audit are rejected.
    """
    eligible = unlike_first(c for c in ranked if c.program.id not in task.taken)
    rejected: list[Rejection] = []
    while finalists := list(islice(eligible, FINALISTS)):
        chosen = _scored(finalists, await _fresh(task, finalists, scorer, "choose"), rejected)
        for candidate, _ in sorted(chosen, key=lambda pair: -pair[1].mean_return):
            for _, fresh in _scored([candidate], await _fresh(task, [candidate], scorer, "report"), rejected):
                return Promotion(BestResponse(candidate, fresh), tuple(rejected))
    return Promotion(None, tuple(rejected))


def unlike_first(ranked: Iterable[Candidate]) -> Iterator[Candidate]:
    """In the same order, but programs that did exactly what a better-placed one did come last.

    Copies of one lucky program would otherwise take all finalists' places."""
    seen: set[tuple[object, ...]] = set()
    alike: list[Candidate] = []
    for candidate in ranked:
        behaviour = _behaviour(candidate.evaluation)
        if behaviour in seen:
            alike.append(candidate)
        else:
            seen.add(behaviour)
            yield candidate
    yield from alike


def _behaviour(evaluation: Evaluation) -> tuple[object, ...]:
    if isinstance(evaluation, Failed):
        return (evaluation.fault,)
    returns = sorted((i, r.mean, r.stderr) for i, r in evaluation.by_opponent.items())
    return (evaluation.mean_return, evaluation.stderr, *returns)


async def _fresh(
    task: BestResponseTask, candidates: Sequence[Candidate], scorer: Scorer, purpose: str
) -> list[Evaluation]:
    scoring = replace(
        task.scoring,
        seed=match_seed(task.fresh_seed, purpose),
        matches_per_opponent=task.fresh_matches_per_opponent,
        audit_share=1.0,
    )
    return await asyncio.gather(*(scorer.score(c.program, scoring) for c in candidates))


def _scored(
    candidates: Sequence[Candidate], evaluations: Sequence[Evaluation], rejected: list[Rejection]
) -> list[tuple[Candidate, Scored]]:
    """Those that ran; the others are added to ``rejected``."""
    survivors = []
    for candidate, evaluation in zip(candidates, evaluations, strict=True):
        if isinstance(evaluation, Failed):
            rejected.append(Rejection(candidate.program.id, evaluation.fault, evaluation.traceback))
        else:
            survivors.append((candidate, evaluation))
    return survivors
