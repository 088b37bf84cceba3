"""Places at a model: how many calls are under way at a time, and how many callers get ready for the next ones."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from evolve.llm.core import NotAskedError

_FEWER = 0.125
"""Of nine calls about one finds its place empty: near enough to always taken, and little is ready long before."""


class Places:
    """At most ``limit`` calls at a time, and beside them as many callers getting ready as keep the places taken.

    To claim a proposal, write its prompt and reserve its cost takes a moment, in which a place that fell free would
    stay empty; worse, answers that come in together make their slots get ready together. Whoever is ready early, on the
    other hand, holds what was best when it was claimed. So the number is found out: a call that finds its place empty,
    with others kept from getting ready, was late, and one more gets ready ahead from then on; one that has to wait was
    early, and a little fewer do. At most half of ``limit``: ahead of a single place nobody gets ready. For one event
    loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ahead = 0.0
        self._were_all_taken = False
        self._ready = _Room(limit)
        self._calls = _Room(limit)

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Around all that leads to calls, the calls themselves, and what is at once done with their answers."""
        await self._ready.enter()
        try:
            yield
        finally:
            self._ready.leave()

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Around a call. Raises :class:`NotAskedError` if :meth:`close` comes before its turn."""
        if self._calls.full():
            self._plan(self._ahead - _FEWER)
        elif self._were_all_taken and self._ready.line:
            self._plan(self._ahead + 1)
        await self._calls.enter()
        self._were_all_taken |= self._calls.full()
        try:
            yield
        finally:
            self._calls.leave()

    def close(self) -> None:
        """Calls that wait for a place are not made any more, now and later; those under way go on."""
        self._calls.close()

    def _plan(self, ahead: float) -> None:
        self._ahead = min(max(ahead, 0.0), self._limit // 2)
        self._ready.resize(self._limit + int(self._ahead))


class _Room:
    """A semaphore whose size may change and that can be closed. First come, first in."""

    def __init__(self, size: int) -> None:
        self.line: deque[asyncio.Future[None]] = deque()
        self._size = size
        self._inside = 0
        self._closed = False

    def full(self) -> bool:
        return self._inside >= self._size

    async def enter(self) -> None:
        if self._closed:
            raise NotAskedError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.line.append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # it was let in, and is called off
                self.leave()
            raise

    def leave(self) -> None:
        self._inside -= 1
        self._admit()

    def resize(self, size: int) -> None:
        self._size = size
        self._admit()

    def close(self) -> None:
        self._closed = True
        while self.line:
            if not (turn := self.line.popleft()).done():
                turn.set_exception(NotAskedError())

    def _admit(self) -> None:
        while self.line and not self.full():
            if not (turn := self.line.popleft()).done():
                self._inside += 1
                turn.set_result(None)
