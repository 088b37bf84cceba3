"""Calls to a store from an event loop: they wait for the server, and hundreds of proposals need not wait with them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4
"""Calls under way at a time. A server works one by one; more would only queue there instead of here, and each thread
that waits for its answer takes the interpreter from the event loop once it has come: eight used 87 % of 256 slots where
three to five used 89 % (2560 calls of 1 s on two cores)."""


class Aside(Protocol):
    """Does ``work``, which waits for nothing but the store. Raises what it raises.

    Work that was handed in comes to its end even if nobody awaits it any more."""

    async def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


async def at_once(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """An :class:`Aside` for a store that answers from this process's memory."""
    return work(*args, **kwargs)


_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, asyncio.Future[Any]]


class Threads:
    """An :class:`Aside` in threads, while the event loop goes on. They are started at the first call.

    An executor of the library would do, but for its futures behind futures: they cost as much as a call to the store,
    and they call work off that waits for a thread when its caller is cancelled."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._threads:
            self._start()
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self._jobs.put((partial(work, *args, **kwargs), loop, answer))
        return cast(T, await answer)

    def _start(self) -> None:
        self._threads = [threading.Thread(target=self._serve, name="store", daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, loop, answer = job
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  it belongs to the caller, whatever it is
                _tell(loop, partial(_fail, answer, error))
            else:
                _tell(loop, partial(_give, answer, result))

    def close(self) -> None:
        """Waits for what was handed in."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(what)


def _give(answer: asyncio.Future[Any], result: object) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
