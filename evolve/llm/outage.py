"""A provider that is down pauses the calls to it, and the run with them, until it is back: a circuit breaker.

Nothing is spent and no proposal is used up meanwhile: calls wait with their leases and reservations, and one of them at
a time tries again, at growing intervals.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from evolve.llm.core import LLM, Completion, Prompt, ProviderDownError

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 60.0
_POLL_S = 0.5


@dataclass(frozen=True)
class Outage:
    """``since_s`` is in seconds since the epoch; ``next_try_s`` too."""

    reason: str
    since_s: float
    next_try_s: float


@runtime_checkable
class WaitingLLM(Protocol):
    """An LLM whose calls may wait for a provider for long."""

    def stop_waiting(self) -> None: ...

    def down(self) -> bool: ...


def stop_waiting(llm: LLM) -> None:
    """Has all calls that wait for a provider end in :class:`ProviderDownError`, now and from now on."""
    if isinstance(llm, WaitingLLM):
        llm.stop_waiting()


def is_down(llm: LLM) -> bool:
    return isinstance(llm, WaitingLLM) and llm.down()


class PatientLLM:
    """``inner`` with a circuit breaker. ``report`` is told of each outage as it begins or lasts, and ``None`` at its
    end. A call fails with :class:`ProviderDownError` once an outage has lasted ``patience_s``."""

    def __init__(
        self,
        inner: LLM,
        patience_s: float,
        report: Callable[[Outage | None], None],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._inner = inner
        self._patience_s = patience_s
        self._report = report
        self._first_pause_s = first_pause_s
        self._pause_s = first_pause_s
        self._outage: Outage | None = None
        self._trying = False
        self._impatient = False

    @property
    def model(self) -> str:
        return self._inner.model

    def down(self) -> bool:
        return self._outage is not None

    def stop_waiting(self) -> None:
        self._impatient = True

    async def complete(self, prompt: Prompt) -> Completion:
        while True:
            trying = await self._admission()
            try:
                with self._attempt(trying):
                    completion = await self._inner.complete(prompt)
            except ProviderDownError as error:
                self._fell(error, trying)
                continue
            # An answer to what was asked before the fall says nothing of now.
            if trying:
                self._rose()
            return completion

    async def _admission(self) -> bool:
        """Waits while the provider is down. True for the one call that tries whether it still is."""
        while (outage := self._outage) is not None:
            wait_s = outage.next_try_s - time.time()
            if wait_s <= 0 and not self._trying:
                return True
            self._check_patience(outage)
            await asyncio.sleep(min(_POLL_S, max(wait_s, 0.01)))
        return False

    @contextmanager
    def _attempt(self, trying: bool) -> Iterator[None]:
        self._trying = self._trying or trying
        try:
            yield
        finally:
            if trying:
                self._trying = False

    def _fell(self, error: ProviderDownError, tried: bool) -> None:
        if self._outage is not None and not tried:
            return  # one of those that were under way when it fell
        if tried:
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
        now_s = time.time()
        since_s = self._outage.since_s if self._outage is not None else now_s
        self._outage = Outage(str(error), since_s, now_s + max(self._pause_s, error.retry_after_s))
        self._check_patience(self._outage)
        self._report(self._outage)

    def _rose(self) -> None:
        self._outage, self._pause_s = None, self._first_pause_s
        self._report(None)

    def _check_patience(self, outage: Outage) -> None:
        if self._impatient or time.time() - outage.since_s >= self._patience_s:
            raise ProviderDownError(outage.reason)
