"""What drivers share: work that signals end in good order, and that fails with what watches it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class RunInterruptedError(Exception):
    """Ctrl-C or SIGTERM: everything up to here is in the store."""


@contextmanager
def on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Has Ctrl-C and SIGTERM call ``stop`` in the running event loop."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
            stack.callback(loop.remove_signal_handler, number)
        yield


async def unless_failed(work: Awaitable[T], watcher: asyncio.Task[Any]) -> T:
    """Awaits ``work``, but fails as soon as ``watcher`` fails: a store that is gone must not go unnoticed."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if watcher.done():
            watcher.result()
        return await task
    finally:
        task.cancel()
