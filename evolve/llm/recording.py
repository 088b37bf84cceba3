"""Calls that are paid for once: reserved or looked up, made, stored, settled - in this order.

The key of a completion is ``prompt.key(completion.model)``. A process killed between any two steps loses nothing it
paid for except a call whose answer had not arrived. Nothing is stored that was not reserved before, so only a request
that the ledger knows is looked for among the completions.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from evolve.archive.aside import Aside, at_once
from evolve.archive.store import CompletionStore
from evolve.llm.bandit import LearningLLM
from evolve.llm.budget import Ledger, Usage, usage_of
from evolve.llm.core import LLM, BudgetExhaustedError, Completion, Prompt
from evolve.llm.ensemble import answering_model
from evolve.llm.outage import is_down, stop_waiting
from evolve.llm.pricing import price_of


@dataclass
class _Flight:
    """One request on its way, and how many callers wait for it."""

    task: asyncio.Task[Completion]
    waiters: int = 0


@dataclass
class _Request:
    """A reservation to be asked for, and the ledger's answer."""

    key: str
    estimate: Usage
    answer: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class RecordedLLM:
    """``inner`` behind a store of completions and a budget. Callers that ask the same at the same time share one call.

    Reserved is the worst case: prompt characters / 4 tokens in, ``max_output_tokens`` out, at list price. Where only
    reservations of this process's own calls in flight stand in the way, a call waits for them to settle; the budget is
    exhausted when it does not fit and nothing of ours is in flight.
    """

    def __init__(self, inner: LLM, completions: CompletionStore, ledger: Ledger, aside: Aside = at_once) -> None:
        self._inner = inner
        self._aside = aside
        self._completions = completions
        self._ledger = ledger
        self._flights: dict[str, _Flight] = {}
        self._unsettled: set[asyncio.Future[Any]] = set()
        self._ended = 0
        self._change = asyncio.Event()
        self._requests: list[_Request] = []
        self._asking: asyncio.Task[None] | None = None
        self._unstored: dict[str, Completion] = {}

    @property
    def model(self) -> str:
        return self._inner.model

    def model_for(self, prompt: Prompt) -> str:
        return answering_model(self._inner, prompt)

    def stop_waiting(self) -> None:
        stop_waiting(self._inner)

    def down(self) -> bool:
        return is_down(self._inner)

    def learn(self, request: str, success: float) -> None:
        """Tells a bandit among the models what became of the answer to ``request``, a completion's key."""
        if isinstance(self._inner, LearningLLM) and (answer := self._completions.get(request)) is not None:
            self._inner.learn(request, answer, success)

    async def complete(self, prompt: Prompt) -> Completion:
        """The recorded completion, or a new one.

        Raises :class:`BudgetExhaustedError`, :class:`LLMError`, or what the store raises when it cannot keep an answer
        (it is then kept here, and the next request for it stores it instead of paying again)."""
        model = self.model_for(prompt)
        key = prompt.key(model)
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(self._fetch(key, model, prompt), name=f"completion {key[:12]}"))
            self._flights[key] = flight
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if flight.waiters == 0:
                flight.task.cancel()  # changes nothing once the task is done
                if self._flights.get(key) is flight:
                    del self._flights[key]

    async def _fetch(self, key: str, model: str, prompt: Prompt) -> Completion:
        task = asyncio.current_task()
        assert task is not None
        is_new = await self._reserve(key, _estimate(model, prompt), task)
        try:
            recorded = None if is_new else await self._aside(self._completions.get, key)
            if recorded is None and key not in self._unstored:
                self._unstored[key] = await self._call(key, prompt)
            return await self._aside(self._book, key, prompt, recorded)
        finally:
            self._leave(task, held=True)

    def _book(self, key: str, prompt: Prompt, recorded: Completion | None) -> Completion:
        """Stores the answer that was given, if none is ``recorded``, and settles."""
        if recorded is None:
            # Another process may have been first; what the store keeps is what a replay will see.
            recorded = self._completions.put(key, prompt, self._unstored[key])
            del self._unstored[key]
        # Settling again what an earlier process may have settled is free, and mends a kill between store and settle.
        self._ledger.settle(key, usage_of(recorded))
        return recorded

    async def _call(self, key: str, prompt: Prompt) -> Completion:
        answered = False
        try:
            completion = await self._inner.complete(prompt)
            answered = True
            return completion
        finally:
            if not answered:
                self._release(key)

    async def _reserve(self, key: str, estimate: Usage, task: asyncio.Task[Completion]) -> bool:
        """As :meth:`Ledger.reserve`; ``task`` is then among those that are yet to settle.

        It is among them while the ledger is asked, too: whoever is refused waits until one that held a reservation
        ends, and asks again; if none does, there is no budget."""
        while True:
            ended = self._ended
            self._unsettled.add(task)
            try:
                return await self._reserved(key, estimate)
            except BudgetExhaustedError:
                self._leave(task, held=False)
                while self._ended == ended and self._unsettled:
                    await self._change.wait()
                if self._ended == ended:
                    raise
            except BaseException:  # cancelled, or the store is gone: nothing is held either way
                self._leave(task, held=False)
                raise

    def _leave(self, whoever: asyncio.Future[Any], held: bool) -> None:
        """``whoever`` no longer has a reservation, or never got one; ``held`` if there is room for others now."""
        self._unsettled.discard(whoever)
        self._ended += held
        if held or not self._unsettled:
            self._change.set()
            self._change = asyncio.Event()

    async def _reserved(self, key: str, estimate: Usage) -> bool:
        """As :meth:`Ledger.reserve`. A caller that goes away before the answer holds nothing, unless the loop ends with
        it: the next start of the run gives that back."""
        self._requests.append(request := _Request(key, estimate))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_ledger(), name="reservations")
        try:
            return await asyncio.shield(request.answer)
        except asyncio.CancelledError:
            self._unsettled.add(request.answer)
            request.answer.add_done_callback(partial(self._give_back, key))
            raise

    async def _ask_ledger(self) -> None:
        """Asks for all reservations that wait, as one, until none does: who asks first is granted first, and hundreds
        do not wait for each other's way to the store and back."""
        while self._requests:
            requests, self._requests = self._requests, []
            try:
                outcomes = await self._aside(self._ledger.reserve, [(r.key, r.estimate) for r in requests])
            except asyncio.CancelledError:  # the loop ends
                for request in requests:
                    request.answer.cancel()
                raise
            except Exception as error:
                for request in requests:
                    request.answer.set_exception(error)
            else:
                for request, outcome in zip(requests, outcomes, strict=True):
                    if isinstance(outcome, BudgetExhaustedError):
                        request.answer.set_exception(outcome)
                    else:
                        request.answer.set_result(outcome)

    def _give_back(self, key: str, asked: asyncio.Future[bool]) -> None:
        granted = not asked.cancelled() and asked.exception() is None and asked.result()
        if granted:
            self._release(key)
        self._leave(asked, held=granted)

    def _release(self, key: str) -> None:
        """Gives back what a call that brought nothing reserved, unless another asks the same by now: it goes on with
        the reservation."""
        flight = self._flights.get(key)
        if flight is None or flight.task is asyncio.current_task():
            self._ledger.release(key)


def teach(llm: LLM, request: str, success: float) -> None:
    """Has a bandit among the models of a recorded LLM learn; others have nothing to learn from."""
    if isinstance(llm, RecordedLLM):
        llm.learn(request, success)


def _estimate(model: str, prompt: Prompt) -> Usage:
    tokens_in = -(-(len(prompt.system) + len(prompt.user)) // 4)
    price = price_of(model)
    usd = price.usd(tokens_in, prompt.max_output_tokens) if price else 0.0
    return Usage(1, tokens_in, prompt.max_output_tokens, usd, 0 if price else 1)
