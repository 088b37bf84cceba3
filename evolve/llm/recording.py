"""Calls that are paid for once: reserved or looked up, made, stored, settled - in this order.

The key of a completion is ``prompt.key(completion.model)``. A process killed between any two steps loses nothing it
paid for except a call whose answer had not arrived. Nothing is stored that was not reserved before, so only a request
that the ledger knows is looked for among the completions.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass

from evolve.archive.aside import Aside, at_once
from evolve.archive.store import CompletionStore
from evolve.llm.bandit import LearningLLM
from evolve.llm.budget import Ledger, Usage, usage_of
from evolve.llm.core import LLM, Completion, Prompt
from evolve.llm.ensemble import answering_model
from evolve.llm.outage import is_down, stop_waiting
from evolve.llm.places import Places
from evolve.llm.pricing import price_of
from evolve.llm.reservations import Reservations


@dataclass
class _Flight:
    """One request on its way, and how many callers wait for it."""

    task: asyncio.Task[Completion]
    waiters: int = 0


class RecordedLLM:
    """``inner`` behind a store of completions and a budget. Callers that ask the same at the same time share one call.

    Reserved is the worst case: prompt characters / 4 tokens in, ``max_output_tokens`` out, at list price.
    """

    def __init__(self, inner: LLM, completions: CompletionStore, ledger: Ledger, aside: Aside = at_once) -> None:
        self._inner = inner
        self._aside = aside
        self._completions = completions
        self._ledger = ledger
        self._places: Places | None = None
        self._flights: dict[str, _Flight] = {}
        self._reservations = Reservations(ledger, aside, self._is_asked_again)
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

    def take(self, places: Places | None) -> None:
        """Has each call take one of ``places``, once it is known to be new and its cost is reserved."""
        self._places = places

    def learn(self, request: str, success: float) -> None:
        """Tells a bandit among the models what became of the answer to ``request``, a completion's key."""
        if isinstance(self._inner, LearningLLM) and (answer := self._completions.get(request)) is not None:
            self._inner.learn(request, answer, success)

    async def complete(self, prompt: Prompt) -> Completion:
        """The recorded completion, or a new one.

        Raises :class:`BudgetExhaustedError`, :class:`NotAskedError`, :class:`LLMError`, or what the store raises when
        it cannot keep an answer (it is then kept here, and the next request for it stores it instead of paying
        again)."""
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
        is_new = await self._reservations.reserve(key, _estimate(model, prompt), task)
        try:
            recorded = None if is_new else await self._look_up(key)
            if recorded is None and key not in self._unstored:
                self._unstored[key] = await self._call(key, prompt)
            return await self._aside(self._book, key, prompt, recorded)
        finally:
            self._reservations.leave(task, held=True)

    async def _look_up(self, key: str) -> Completion | None:
        try:
            recorded = await self._aside(self._completions.get, key)
        except BaseException:
            self._reservations.forgo(key)
            raise
        self._reservations.inherit(key)
        return recorded

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
            async with self._places.call() if self._places else nullcontext():
                completion = await self._inner.complete(prompt)
            answered = True
            return completion
        finally:
            if not answered:
                self._reservations.release(key)

    def _is_asked_again(self, key: str) -> bool:
        flight = self._flights.get(key)
        return flight is not None and flight.task is not asyncio.current_task()


def teach(llm: LLM, request: str, success: float) -> None:
    """Has a bandit among the models of a recorded LLM learn; others have nothing to learn from."""
    if isinstance(llm, RecordedLLM):
        llm.learn(request, success)


def take_places(llm: LLM, places: Places | None) -> None:
    """Has the calls of a recorded LLM, which then serves one evolver, take ``places``. Calls of others are bounded by
    how many callers get ready."""
    if isinstance(llm, RecordedLLM):
        llm.take(places)


def _estimate(model: str, prompt: Prompt) -> Usage:
    tokens_in = -(-(len(prompt.system) + len(prompt.user)) // 4)
    price = price_of(model)
    usd = price.usd(tokens_in, prompt.max_output_tokens) if price else 0.0
    return Usage(1, tokens_in, prompt.max_output_tokens, usd, 0 if price else 1)
