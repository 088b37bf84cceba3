"""What the calls of one process have set aside of the run's budget, and who waits for room in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from evolve.archive.aside import Aside
from evolve.llm.budget import Ledger, Usage
from evolve.llm.core import BudgetExhaustedError


@dataclass(eq=False)
class _Request:
    """A reservation that is asked for, and the ledger's answer."""

    key: str
    estimate: Usage
    answer: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Reservations:
    """Asks ``ledger``, by way of ``aside``, in the order in which the calls come.

    Where only reservations of this process's own calls stand in the way, a call waits for them to settle; the budget is
    exhausted when it does not fit and nothing of ours is held. ``is_wanted`` says whether another call asks for the
    same key by now."""

    def __init__(self, ledger: Ledger, aside: Aside, is_wanted: Callable[[str], bool]) -> None:
        self._ledger = ledger
        self._aside = aside
        self._is_wanted = is_wanted
        self._inherited: set[str] = set()
        self._unsettled: set[asyncio.Future[Any]] = set()
        self._ended = 0
        self._change = asyncio.Event()
        self._requests: list[_Request] = []
        self._asking: asyncio.Task[None] | None = None

    async def reserve(self, key: str, estimate: Usage, holder: asyncio.Future[Any]) -> bool:
        """True if it is set aside, false if ``key`` is known already; ``holder`` has to :meth:`leave` in both cases.

        Raises :class:`BudgetExhaustedError`. The holder counts as one that is yet to settle while the ledger is asked,
        too: whoever is refused waits until one that held a reservation ends, and asks again; if none does, there is no
        budget."""
        while True:
            ended = self._ended
            self._unsettled.add(holder)
            try:
                return await self._ask(key, estimate)
            except BudgetExhaustedError:
                self.leave(holder, held=False)
                while self._ended == ended and self._unsettled:
                    await self._change.wait()
                if self._ended == ended:
                    raise
            except BaseException:  # cancelled, or the store is gone: nothing is held either way
                self.leave(holder, held=False)
                raise

    def leave(self, holder: asyncio.Future[Any], held: bool) -> None:
        """``holder`` no longer has a reservation, or never got one; ``held`` if there is room for others now."""
        self._unsettled.discard(holder)
        self._ended += held
        if held or not self._unsettled:
            self._change.set()
            self._change = asyncio.Event()

    def release(self, key: str) -> None:
        """Gives back what was reserved, unless another call wants it: that goes on with the reservation."""
        if self._is_wanted(key):
            self._inherited.add(key)
        else:
            self._inherited.discard(key)
            self._ledger.release(key)

    def inherit(self, key: str) -> None:
        """The call that found its key reserved goes on; from here on it is the one to release it."""
        self._inherited.discard(key)

    def forgo(self, key: str) -> None:
        """As :meth:`release`, by a call that may have found its key reserved: by one before it, or elsewhere."""
        if key in self._inherited:
            self.release(key)

    async def _ask(self, key: str, estimate: Usage) -> bool:
        """A caller that goes away before the answer holds nothing, unless the loop ends with it: the next start of the
        run gives that back."""
        self._requests.append(request := _Request(key, estimate))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_ledger(), name="reservations")
        try:
            return await asyncio.shield(request.answer)
        except asyncio.CancelledError:
            if request in self._requests:  # nobody has asked for it yet
                self._requests.remove(request)
            else:
                self._unsettled.add(request.answer)
                request.answer.add_done_callback(partial(self._give_back, key))
            raise

    async def _ask_ledger(self) -> None:
        """Asks for all reservations that wait, as one, until none does: hundreds need not wait for each other's way to
        the store and back."""
        while self._requests:
            requests, self._requests = self._requests, []
            try:
                outcomes = await self._aside(self._ledger.reserve, [(r.key, r.estimate) for r in requests])
                answers = list(zip(requests, outcomes, strict=True))
            except asyncio.CancelledError:  # the loop ends
                for request in requests:
                    request.answer.cancel()
                raise
            except Exception as error:  # noqa: BLE001  it belongs to the callers, whatever it is
                for request in requests:
                    request.answer.set_exception(error)
            else:
                for request, outcome in answers:
                    if isinstance(outcome, BudgetExhaustedError):
                        request.answer.set_exception(outcome)
                    else:
                        request.answer.set_result(outcome)

    def _give_back(self, key: str, answer: asyncio.Future[bool]) -> None:
        granted = not answer.cancelled() and answer.exception() is None and answer.result()
        if granted:
            self.release(key)
        else:
            self.forgo(key)
        self.leave(answer, held=granted)
