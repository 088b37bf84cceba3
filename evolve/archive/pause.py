"""Waiting out a full disk: a run pauses where it is and goes on when there is room, for nothing is lost by waiting."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from evolve.archive.core import StoreFullError

POLL_S = 1.0

T = TypeVar("T")

_teller = threading.Lock()  # held by the one thread of this process that tells of the pause


def when_there_is_room(attempt: Callable[[], T], say: Callable[[str], None], closing: threading.Event) -> T:
    """``attempt`` until it no longer raises :class:`StoreFullError`; ``say`` is told once at each end of the wait,
    however many threads of this process wait. Raises the error once ``closing`` is set."""
    telling = False
    try:
        while True:
            try:
                result = attempt()
            except StoreFullError as full:
                if closing.is_set():
                    raise
                if not telling and _teller.acquire(blocking=False):
                    telling = True
                    say(f"paused until there is room: {full}")
                with _interruptible():
                    closing.wait(POLL_S)
                continue
            if telling:
                say("there is room on the store's disk again: going on")
            return result
    finally:
        if telling:
            _teller.release()


def to_stderr(line: str) -> None:
    print(f"csro: {line}", file=sys.stderr, flush=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C end the wait: a driver's event loop, which handles it otherwise, stands still meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
