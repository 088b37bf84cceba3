"""The winner's curse, undone: candidates are chosen on one block of fresh seeds and reported on another.

The best of many noisy scores is too high (it was picked for its luck). So the top few of a search play again on seeds
the search never saw; the best of those plays once more, on further seeds, and only that last score is reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from evolve.candidate import Candidate
from evolve.oracles.core import BestResponse, BestResponseTask
from evolve.scoring import Scored, Scorer
from games.seeds import match_seed

FINALISTS = 6


async def promote(task: BestResponseTask, ranked: Sequence[Candidate], scorer: Scorer) -> BestResponse | None:
    """The best response among ``ranked`` (best first by the search's score), or ``None`` if no candidate survives.

    Programs already in the pool, and programs that fail on fresh seeds, are passed over.
    """
    eligible = [c for c in ranked if c.program.id not in task.taken]
    for start in range(0, len(eligible), FINALISTS):
        finalists = eligible[start : start + FINALISTS]
        chosen = await _fresh(task, finalists, scorer, "choose")
        for candidate, _ in sorted(chosen, key=lambda pair: -pair[1].mean_return):
            reported = await _fresh(task, [candidate], scorer, "report")
            if reported:
                return BestResponse(candidate, reported[0][1])
    return None


async def _fresh(
    task: BestResponseTask, candidates: Sequence[Candidate], scorer: Scorer, purpose: str
) -> list[tuple[Candidate, Scored]]:
    scoring = replace(
        task.scoring,
        seed=match_seed(task.fresh_seed, purpose),
        matches_per_opponent=task.fresh_matches_per_opponent,
    )
    evaluations = await asyncio.gather(*(scorer.score(c.program, scoring) for c in candidates))
    return [(c, e) for c, e in zip(candidates, evaluations, strict=True) if isinstance(e, Scored)]
