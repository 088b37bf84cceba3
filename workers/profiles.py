"""Matches of whole profiles, spread over the scoring processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from evolve.pibr_profile import ProfileMatches
from evolve.program import Program
from workers.pool import ScorerPool
from workers.scorer import ScoringProcess

_CHUNK = 32  # matches a process plays at a time


class PoolProfilePlayer:
    """The :class:`evolve.pibr.ProfilePlayer` over a pool."""

    def __init__(self, pool: ScorerPool) -> None:
        self._pool = pool

    async def play(self, programs: Sequence[Program], seeds: Sequence[int]) -> ProfileMatches:
        chunks = [seeds[k : k + _CHUNK] for k in range(0, len(seeds), _CHUNK)]
        parts = await asyncio.gather(
            *(self._pool.call(ScoringProcess.play_profile, tuple(programs), chunk) for chunk in chunks)
        )
        return ProfileMatches(tuple(match for part in parts for match in part.matches), parts[0].mixtures)
