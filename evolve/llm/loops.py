"""What belongs to an event loop: objects that there is one of in each, and what is to be done at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """The object of the running loop, made when it is first asked for: pooled connections and locks outlive no loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._current: tuple[asyncio.AbstractEventLoop, T] | None = None

    def get(self) -> T:
        loop = asyncio.get_running_loop()
        if self._current is None or self._current[0] is not loop:
            self._current = (loop, self._make())
        return self._current[1]


def at_loop_end(close: Callable[[], Awaitable[None]]) -> None:
    """Has ``close`` awaited when the running loop ends: ``asyncio.run`` and its kind call off what still runs then."""

    async def wait() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:  # and not where a loop is dropped with all its tasks
            await close()
            raise

    task = asyncio.get_running_loop().create_task(wait(), name="at the loop's end")
    _waiting.add(task)
    task.add_done_callback(_waiting.discard)


_waiting: set[asyncio.Task[None]] = set()
"""Kept here, for a loop itself does not keep its tasks."""
