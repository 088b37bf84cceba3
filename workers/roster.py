"""Which scoring processes take work: those whose sandbox has held so far."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from evolve.archive.store import Store
from sandbox.faults import SandboxError

STOPPED = "scorer_stopped"
"""Type of the run's event that says why a scoring process takes no more work."""

Place = tuple[int, int]
"""Room for one piece of work: how many the worker has before it, and the worker's number."""


def to_stderr(line: str) -> None:
    print(f"csro: {line}", file=sys.stderr)


def into(store: Store, tell: Callable[[str], None] = to_stderr) -> Callable[[str], None]:
    """A report that is told and also kept with the run."""

    def report(line: str) -> None:
        tell(line)
        store.log({"type": STOPPED, "reason": line})

    return report


class Roster:
    """``depth`` places with each of ``size`` workers, the emptiest first. A worker that is retired gets no more work.

    For one event loop at a time. ``report`` is told, in one line, why a worker was retired.
    """

    def __init__(self, size: int, depth: int, report: Callable[[str], None] = to_stderr) -> None:
        self.report = report
        self._size = size
        self._reasons: dict[int, str] = {}
        self._free: asyncio.PriorityQueue[Place] = asyncio.PriorityQueue()
        for before in range(depth):
            for worker in range(size):
                self._free.put_nowait((before, worker))

    async def take(self) -> Place:
        """Waits for a free place. Raises :class:`SandboxError` once every worker is retired."""
        while True:
            place = await self._free.get()
            if len(self._reasons) == self._size:
                self._free.put_nowait(place)  # whoever waits behind us must hear it too
                raise SandboxError(f"no scoring process is left: {next(iter(self._reasons.values()))}")
            if place[1] not in self._reasons:
                return place

    def give_back(self, place: Place) -> None:
        """After the work is done, or lost."""
        if place[1] not in self._reasons or len(self._reasons) == self._size:
            self._free.put_nowait(place)

    def retire(self, worker: int, reason: str) -> None:
        """Gives this worker no more work. Call it before :meth:`give_back`."""
        if worker not in self._reasons:
            self._reasons[worker] = reason
            left = self._size - len(self._reasons)
            self.report(f"scoring process {worker} takes no more work ({left} left): {reason}")
