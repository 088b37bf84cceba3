"""Calls are looked up, reserved, made, stored and settled, in this order; no answer is paid for twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from evolve.archive.aside import Threads
from evolve.archive.memory import MemoryStore
from evolve.archive.store import CompletionStore
from evolve.llm.budget import Budget, Ledger, MemoryLedger, Usage
from evolve.llm.core import BudgetExhaustedError, Completion, LLMError, NotAskedError, Prompt
from evolve.llm.ensemble import EnsembleLLM
from evolve.llm.places import Places
from evolve.llm.recording import RecordedLLM

Requests = Sequence[tuple[str, Usage]]
Outcomes = list[bool | BudgetExhaustedError]


class ScriptedLLM:
    """Answers when told to; counts its calls."""

    model = "openai:gpt-4.1"

    def __init__(self, error: Exception | None = None, *, at_once: bool = True) -> None:
        self.calls = 0
        self.go = asyncio.Event()
        self._error = error
        if at_once:
            self.go.set()

    async def complete(self, prompt: Prompt) -> Completion:
        self.calls += 1
        await self.go.wait()
        if self._error is not None:
            raise self._error
        return Completion(f"answer to {prompt.user}", self.model, 100, 20, 0.001, 0.5)


class LoggingStore:
    """A completion store that notes what is done to it, and fails on request."""

    def __init__(self, inner: CompletionStore, log: list[str], failures: int = 0) -> None:
        self._inner = inner
        self._log = log
        self._failures = failures

    def get(self, key: str) -> Completion | None:
        return self._inner.get(key)

    def put(self, key: str, prompt: Prompt, completion: Completion) -> Completion:
        self._log.append("put")
        if self._failures:
            self._failures -= 1
            raise OSError("no space left on device")
        return self._inner.put(key, prompt, completion)

    def items(self) -> Iterator[tuple[str, Prompt, Completion]]:
        return self._inner.items()


PROMPT = Prompt("s", "u", max_output_tokens=50)


async def until_called(llm: ScriptedLLM, times: int = 1) -> None:
    while llm.calls < times:
        await asyncio.sleep(0)


async def test_a_new_completion_is_stored_before_it_is_settled_and_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    store, log = MemoryStore("run"), list[str]()
    ledger = store.ledger(Budget())
    settle = ledger.settle

    def logged_settle(key: str, actual: Usage) -> None:
        log.append("settle")
        settle(key, actual)

    monkeypatch.setattr(ledger, "settle", logged_settle)
    llm = RecordedLLM(ScriptedLLM(), LoggingStore(store.completions, log), ledger)
    completion = await llm.complete(PROMPT)
    assert log == ["put", "settle"]
    assert ledger.spent() == Usage(1, 100, 20, 0.001)
    ((key, prompt, kept),) = store.completions.items()
    assert (key, prompt, kept) == (PROMPT.key(completion.model), PROMPT, completion)


async def test_a_recorded_completion_is_not_paid_for_again() -> None:
    store = MemoryStore("run")
    first = await RecordedLLM(ScriptedLLM(), store.completions, store.ledger(Budget())).complete(PROMPT)
    silent = ScriptedLLM()
    again = await RecordedLLM(silent, store.completions, store.ledger(Budget(llm_calls=1))).complete(PROMPT)
    assert again == first
    assert silent.calls == 0


async def test_a_kill_between_store_and_settle_is_mended_by_the_next_look() -> None:
    store = MemoryStore("run")
    inner = ScriptedLLM()
    store.completions.put(PROMPT.key(inner.model), PROMPT, await inner.complete(PROMPT))
    ledger = store.ledger(Budget())
    ledger.reserve([(PROMPT.key(inner.model), Usage(1, 1, 50))])
    llm = RecordedLLM(inner, store.completions, ledger)
    await llm.complete(PROMPT)
    await llm.complete(PROMPT)
    assert ledger.spent() == Usage(1, 100, 20, 0.001)
    assert not ledger.reserved()


async def test_callers_that_ask_the_same_share_one_call() -> None:
    store, inner = MemoryStore("run"), ScriptedLLM(at_once=False)
    llm = RecordedLLM(inner, store.completions, store.ledger(Budget()))
    calls = [asyncio.create_task(llm.complete(PROMPT)) for _ in range(5)]
    await until_called(inner)
    calls[0].cancel()
    await asyncio.sleep(0)
    inner.go.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert {o.text for o in outcomes[1:] if isinstance(o, Completion)} == {"answer to u"}
    assert inner.calls == 1


async def test_samples_are_calls_of_their_own() -> None:
    store, inner = MemoryStore("run"), ScriptedLLM()
    llm = RecordedLLM(inner, store.completions, store.ledger(Budget()))
    await asyncio.gather(*(llm.complete(Prompt("s", "u", sample=str(i))) for i in range(3)))
    assert inner.calls == 3


async def test_a_failed_call_gives_its_reservation_back() -> None:
    store = MemoryStore("run")
    ledger = store.ledger(Budget(llm_calls=1))
    with pytest.raises(LLMError, match="down"):
        await RecordedLLM(ScriptedLLM(LLMError("down")), store.completions, ledger).complete(PROMPT)
    assert not ledger.reserved()
    assert (await RecordedLLM(ScriptedLLM(), store.completions, ledger).complete(PROMPT)).text


async def test_a_cancelled_call_gives_its_reservation_back() -> None:
    store, inner = MemoryStore("run"), ScriptedLLM(at_once=False)
    ledger = store.ledger(Budget())
    call = asyncio.create_task(RecordedLLM(inner, store.completions, ledger).complete(PROMPT))
    await until_called(inner)
    assert len(ledger.reserved()) == 1
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await asyncio.sleep(0)
    assert not ledger.reserved()
    assert ledger.spent() == Usage()


async def test_an_answer_that_cannot_be_stored_is_kept_and_stored_later() -> None:
    store, inner = MemoryStore("run"), ScriptedLLM()
    ledger = store.ledger(Budget(llm_calls=1))
    llm = RecordedLLM(inner, LoggingStore(store.completions, [], failures=2), ledger)
    for _ in range(2):
        with pytest.raises(OSError, match="no space"):
            await llm.complete(PROMPT)
        assert len(ledger.reserved()) == 1  # it was paid for, so the budget must not give it away
    assert (await llm.complete(PROMPT)).text == "answer to u"
    assert inner.calls == 1
    assert ledger.spent().llm_calls == 1


async def test_of_two_processes_with_one_question_the_first_answer_counts() -> None:
    store, inner = MemoryStore("run"), ScriptedLLM(at_once=False)
    ledger = store.ledger(Budget())
    call = asyncio.create_task(RecordedLLM(inner, store.completions, ledger).complete(PROMPT))
    await until_called(inner)
    earlier = Completion("from elsewhere", inner.model, 1, 2, 0.0, 0.1)
    store.completions.put(PROMPT.key(inner.model), PROMPT, earlier)
    inner.go.set()
    assert await call == earlier


async def test_the_budget_stops_calls_that_would_pass_it() -> None:
    store, inner = MemoryStore("run"), ScriptedLLM()
    llm = RecordedLLM(inner, store.completions, store.ledger(Budget(llm_calls=2)))
    prompts = [Prompt("s", f"u{i}") for i in range(4)]
    outcomes = await asyncio.gather(*(llm.complete(p) for p in prompts), return_exceptions=True)
    assert inner.calls == 2
    assert sum(isinstance(o, BudgetExhaustedError) for o in outcomes) == 2
    paid = next(p for p, o in zip(prompts, outcomes, strict=True) if isinstance(o, Completion))
    assert isinstance(await llm.complete(paid), Completion)  # what is recorded needs no budget


async def test_reservations_in_flight_are_waited_for_not_taken_for_spent() -> None:
    """A call may cost 251 tokens and costs 120. Of 500 only one can be reserved at a time, yet three are made."""
    store, inner = MemoryStore("run"), ScriptedLLM()
    ledger = store.ledger(Budget(tokens=500))
    llm = RecordedLLM(inner, store.completions, ledger)
    prompts = [Prompt("", f"u{i}xx", max_output_tokens=250) for i in range(6)]
    outcomes = await asyncio.gather(*(llm.complete(p) for p in prompts), return_exceptions=True)
    assert inner.calls == sum(isinstance(o, Completion) for o in outcomes) == 3
    assert ledger.spent().tokens_in + ledger.spent().tokens_out == 3 * 120


class FarLedger(MemoryLedger):
    """The answers that ``late`` names take their time on the way back; settlements take it on the way there."""

    def __init__(self, budget: Budget, late: str) -> None:
        super().__init__(budget)
        self._late = late

    def _travel(self, what: str) -> None:
        if what in self._late:
            time.sleep(0.02)

    def reserve(self, requests: Requests) -> Outcomes:
        outcomes = super().reserve(requests)
        for outcome in ("refused" if isinstance(each, BudgetExhaustedError) else "granted" for each in outcomes):
            self._travel(outcome)
        return outcomes

    def settle(self, key: str, actual: Usage) -> None:
        self._travel("settled")
        super().settle(key, actual)


@pytest.mark.parametrize("late", ["granted", "refused", "settled", "granted and settled", "refused and settled"])
async def test_money_that_is_coming_back_is_waited_for_whichever_answer_is_late(late: str) -> None:
    """A call may cost 1000 tokens and costs 120: the budget has room for one at a time, and for all eight."""
    inner, store, aside = ScriptedLLM(), MemoryStore("run"), Threads()
    try:
        llm = RecordedLLM(inner, store.completions, FarLedger(Budget(tokens=7 * 120 + 1000), late), aside)
        prompts = [Prompt("", f"u{i}xx", max_output_tokens=999) for i in range(8)]
        await asyncio.gather(*(llm.complete(prompt) for prompt in prompts))
    finally:
        aside.close()
    assert inner.calls == 8


async def test_an_ensemble_is_recorded_under_the_model_that_answers() -> None:
    class Other(ScriptedLLM):
        model = "google:gemini-2.5-pro"

    store = MemoryStore("run")
    ensemble = EnsembleLLM([(ScriptedLLM(), 1.0), (Other(), 1.0)])
    llm = RecordedLLM(ensemble, store.completions, store.ledger(Budget()))
    for i in range(12):
        await llm.complete(Prompt("", f"u{i}"))
    recorded = list(store.completions.items())
    assert {completion.model for _, _, completion in recorded} == {"openai:gpt-4.1", "google:gemini-2.5-pro"}
    assert all(key == prompt.key(completion.model) for key, prompt, completion in recorded)


class GatedLedger:
    """A ledger whose ``reserve`` waits, in its thread, until it is told to answer."""

    def __init__(self, inner: Ledger) -> None:
        self._inner = inner
        self.asked = 0
        self.batches: list[int] = []
        self.gate = threading.Event()

    def reserve(self, requests: Requests) -> Outcomes:
        self.asked += len(requests)
        self.batches.append(len(requests))
        assert self.gate.wait(30)
        return self._inner.reserve(requests)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def test_calls_that_wait_are_reserved_together_in_their_order() -> None:
    store, threads, inner = MemoryStore("run"), Threads(), ScriptedLLM(at_once=False)
    ledger = GatedLedger(store.ledger(Budget(llm_calls=30)))
    llm = RecordedLLM(inner, store.completions, cast(Ledger, ledger), threads)
    calls = [asyncio.create_task(llm.complete(Prompt("s", "u", sample=str(i)))) for i in range(20)]
    while not ledger.asked:
        await asyncio.sleep(0.001)
    calls += [asyncio.create_task(llm.complete(Prompt("s", "u", sample=str(i)))) for i in range(20, 40)]
    await asyncio.sleep(0)
    ledger.gate.set()
    async with asyncio.timeout(30):
        while inner.calls < 30:
            await asyncio.sleep(0.001)
    assert ledger.batches == [20, 20]
    inner.go.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(outcome, Completion) for outcome in outcomes] == [True] * 30 + [False] * 10
    threads.close()


async def test_a_call_cancelled_while_it_reserves_holds_nothing() -> None:
    store, threads = MemoryStore("run"), Threads()
    ledger = GatedLedger(store.ledger(Budget(llm_calls=1)))
    llm = RecordedLLM(ScriptedLLM(), store.completions, cast(Ledger, ledger), threads)
    call = asyncio.create_task(llm.complete(PROMPT))
    while not ledger.asked:
        await asyncio.sleep(0.001)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    another = asyncio.create_task(llm.complete(Prompt("s", "other")))
    ledger.gate.set()
    assert (await another).text == "answer to other"
    assert ledger.spent().llm_calls == 1 and not ledger.reserved()
    threads.close()


async def test_the_same_asked_again_goes_on_with_the_reservation_of_a_cancelled_call() -> None:
    store, threads, inner = MemoryStore("run"), Threads(), ScriptedLLM(at_once=False)
    ledger = GatedLedger(store.ledger(Budget(llm_calls=1)))
    llm = RecordedLLM(inner, store.completions, cast(Ledger, ledger), threads)
    first = asyncio.create_task(llm.complete(PROMPT))
    while not ledger.asked:
        await asyncio.sleep(0.001)
    first.cancel()
    again = asyncio.create_task(llm.complete(PROMPT))
    ledger.gate.set()
    while not inner.calls:
        await asyncio.sleep(0.001)
    assert len(ledger.reserved()) == 1
    inner.go.set()
    assert (await again).text == "answer to u"
    assert ledger.spent().llm_calls == 1
    threads.close()


class GatedCompletions:
    """Completions that are looked for, in a thread, until told to answer."""

    def __init__(self, inner: CompletionStore) -> None:
        self._inner = inner
        self.asked = 0
        self.gate = threading.Event()

    def get(self, key: str) -> Completion | None:
        self.asked += 1
        assert self.gate.wait(30)
        return self._inner.get(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize("during", ["the reservation", "the look-up"])
async def test_the_same_asked_again_and_cancelled_too_holds_nothing(during: str) -> None:
    store, threads = MemoryStore("run"), Threads()
    ledger, completions = GatedLedger(store.ledger(Budget())), GatedCompletions(store.completions)
    llm = RecordedLLM(ScriptedLLM(), cast(CompletionStore, completions), cast(Ledger, ledger), threads)
    calls = [asyncio.create_task(llm.complete(PROMPT))]
    while not ledger.asked:
        await asyncio.sleep(0.001)
    calls[0].cancel()
    calls.append(asyncio.create_task(llm.complete(PROMPT)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # its request waits behind the first
    ledger.gate.set()
    while ledger.asked < 2 if during == "the reservation" else not completions.asked:
        await asyncio.sleep(0)
    calls[1].cancel()
    completions.gate.set()
    await asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(30):
        while ledger.reserved():
            await asyncio.sleep(0.001)
    threads.close()


async def test_a_call_cancelled_before_the_ledger_is_asked_is_not_asked_for() -> None:
    store, threads = MemoryStore("run"), Threads()
    ledger = GatedLedger(store.ledger(Budget()))
    llm = RecordedLLM(ScriptedLLM(), store.completions, cast(Ledger, ledger), threads)
    calls = [asyncio.create_task(llm.complete(Prompt("s", "u", sample="0")))]
    while not ledger.asked:
        await asyncio.sleep(0.001)
    calls += [asyncio.create_task(llm.complete(Prompt("s", "u", sample=str(i)))) for i in (1, 2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls[1].cancel()
    await asyncio.gather(calls[1], return_exceptions=True)
    ledger.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(outcome, Completion) for outcome in outcomes] == [True, False, True]
    assert ledger.batches == [1, 1] and ledger.spent().llm_calls == 2
    threads.close()


async def test_a_store_that_fails_fails_all_that_wait_for_it_and_holds_up_nobody_after() -> None:
    class Failing(MemoryLedger):
        fails = True

        def reserve(self, requests: Requests) -> Outcomes:
            if self.fails:
                raise OSError("no connection")
            return super().reserve(requests)

    store, ledger = MemoryStore("run"), Failing(Budget(llm_calls=1))
    llm = RecordedLLM(ScriptedLLM(), store.completions, ledger)
    calls = (llm.complete(Prompt("s", "u", sample=str(i))) for i in range(3))
    assert {type(o) for o in await asyncio.gather(*calls, return_exceptions=True)} == {OSError}
    ledger.fails = False
    assert (await llm.complete(PROMPT)).text == "answer to u"


async def test_callers_that_are_refused_ask_once_each() -> None:
    store, threads = MemoryStore("run"), Threads()
    ledger = GatedLedger(store.ledger(Budget(llm_calls=0)))
    ledger.gate.set()
    llm = RecordedLLM(ScriptedLLM(), store.completions, cast(Ledger, ledger), threads)
    calls = (llm.complete(Prompt("s", "u", sample=str(i))) for i in range(64))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, BudgetExhaustedError) for outcome in outcomes)
    assert ledger.asked == 64
    threads.close()


async def test_a_call_that_is_turned_away_gives_its_reservation_back() -> None:
    store, inner, places = MemoryStore("run"), ScriptedLLM(at_once=False), Places(1)
    ledger = store.ledger(Budget())
    llm = RecordedLLM(inner, store.completions, ledger)
    llm.take(places)
    calls = [asyncio.create_task(llm.complete(Prompt("s", "u", sample=str(i)))) for i in range(3)]
    await until_called(inner)
    assert ledger.held().llm_calls == 3
    places.close()
    inner.go.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Completion, NotAskedError, NotAskedError]
    assert inner.calls == ledger.spent().llm_calls == 1 and not ledger.reserved()


async def test_a_refusal_that_is_overtaken_by_a_settlement_is_asked_again() -> None:
    """A caller is refused while another holds the rest; the other has settled for less when the refusal arrives."""
    store, threads, inner = MemoryStore("run"), Threads(), ScriptedLLM(at_once=False)
    late = _LateRefusals(store.ledger(Budget(tokens=1200)))
    llm = RecordedLLM(inner, store.completions, cast(Ledger, late), threads)
    prompts = [Prompt("s", "u", max_output_tokens=1000, sample=str(i)) for i in range(2)]
    calls = [asyncio.create_task(llm.complete(prompts[0]))]
    await until_called(inner)
    calls.append(asyncio.create_task(llm.complete(prompts[1])))
    while not late.refused:
        await asyncio.sleep(0.001)
    inner.go.set()
    assert len(await asyncio.gather(*calls)) == 2 and late.refused == 1
    threads.close()


class _LateRefusals:
    """A ledger whose refusals reach the caller only when nothing is held any more."""

    def __init__(self, inner: Ledger) -> None:
        self._inner = inner
        self.refused = 0

    def reserve(self, requests: Requests) -> Outcomes:
        outcomes = self._inner.reserve(requests)
        if isinstance(outcomes[-1], BudgetExhaustedError):
            self.refused += 1
            while self._inner.reserved():
                time.sleep(0.001)
            time.sleep(0.05)
        return outcomes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
