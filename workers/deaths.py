"""How long actors that die are replaced before what they work on is given up."""

from __future__ import annotations

import asyncio
import time

PATIENCE_S = 240.0
"""A cluster without its head restarts nobody, so that each try fails at once; a head takes a minute or more to restart,
and the actors take a while to come back after it."""
LONGEST_PAUSE_S = 5.0


class Deaths:
    """Deaths in a row on the same work. They are too many once there are ``limit`` of them and the first of them is
    :data:`PATIENCE_S` ago: fewer may be chance, and in a shorter time they may all have one cause that passes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times_s: list[float] = []

    @property
    def too_many(self) -> bool:
        times_s = self._times_s
        return len(times_s) >= self._limit and times_s[-1] - times_s[0] >= PATIENCE_S

    def forget(self) -> None:
        """Whoever died had worked for a while: a new row begins."""
        self._times_s.clear()

    async def another(self) -> None:
        """Counts one more, and waits longer each time before the next try."""
        self._times_s.append(time.monotonic())
        await asyncio.sleep(min(LONGEST_PAUSE_S, 0.1 * 2 ** len(self._times_s)))

    def __str__(self) -> str:
        return f"{len(self._times_s)} times in a row within {self._times_s[-1] - self._times_s[0]:.0f} s"
