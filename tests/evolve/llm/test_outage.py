"""A provider that is down pauses its callers; nothing is lost, and only one of them tries."""

from __future__ import annotations

import asyncio

import pytest

from evolve.archive.memory import MemoryStore
from evolve.llm.budget import Budget, Usage
from evolve.llm.core import Completion, LLMRefusedError, Prompt, ProviderDownError
from evolve.llm.outage import Outage, PatientLLM, is_down, stop_waiting
from evolve.llm.recording import RecordedLLM


class Provider:
    """Down until told otherwise; counts what it is asked."""

    model = "openai:gpt-4.1"

    def __init__(self, *, down: bool = True, retry_after_s: float = 0.0) -> None:
        self.is_down = down
        self.asked = 0
        self._retry_after_s = retry_after_s

    async def complete(self, prompt: Prompt) -> Completion:
        self.asked += 1
        await asyncio.sleep(0.001)
        if self.is_down:
            raise ProviderDownError("openai:gpt-4.1: HTTP 503; gave up after 6 attempts", self._retry_after_s)
        return Completion("here", self.model, 10, 5, 0.001, 0.1)


async def test_calls_wait_and_one_tries_until_it_is_back() -> None:
    provider, told = Provider(), list[Outage | None]()
    llm = PatientLLM(provider, 3600.0, told.append, first_pause_s=0.05)
    first = asyncio.create_task(llm.complete(Prompt("", "first")))
    await _until(lambda: is_down(llm))
    calls = [asyncio.create_task(llm.complete(Prompt("", str(i)))) for i in range(50)]
    await asyncio.sleep(0.3)
    assert provider.asked <= 6  # 0.05 + 0.1 + 0.2 s apart, and not one of the fifty
    provider.is_down = False
    answers = await asyncio.gather(first, *calls)
    assert [a.text for a in answers] == ["here"] * 51
    assert not is_down(llm)
    assert told[-1] is None and told.count(None) == 1
    begun = {outage.since_s for outage in told if outage is not None}
    assert len(begun) == 1


async def test_what_was_under_way_when_it_fell_waits_too_and_nothing_is_spent_or_lost() -> None:
    provider, store = Provider(), MemoryStore("run")
    ledger = store.ledger(Budget(llm_calls=20))
    llm = RecordedLLM(PatientLLM(provider, 3600.0, lambda outage: None, first_pause_s=0.02), store.completions, ledger)
    calls = [asyncio.create_task(llm.complete(Prompt("", str(i)))) for i in range(20)]
    await asyncio.sleep(0.1)
    assert ledger.spent() == Usage()
    assert len(ledger.reserved()) == 20
    provider.is_down = False
    await asyncio.gather(*calls)
    assert ledger.spent().llm_calls == 20
    assert len(list(store.completions.items())) == 20


async def test_patience_ends() -> None:
    provider = Provider()
    llm = PatientLLM(provider, 0.1, lambda outage: None, first_pause_s=0.02)
    with pytest.raises(ProviderDownError, match="HTTP 503"):
        await llm.complete(Prompt("", "a"))
    without = PatientLLM(provider, 0.0, lambda outage: None)
    before = provider.asked
    with pytest.raises(ProviderDownError):
        await without.complete(Prompt("", "a"))
    assert provider.asked == before + 1


async def test_who_waits_can_be_told_not_to() -> None:
    store = MemoryStore("run")
    inner = PatientLLM(Provider(), 3600.0, lambda outage: None)
    llm = RecordedLLM(inner, store.completions, store.ledger(Budget()))
    calls = [asyncio.create_task(llm.complete(Prompt("", str(i)))) for i in range(5)]
    await _until(lambda: is_down(llm))
    stop_waiting(llm)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, ProviderDownError) for outcome in outcomes)
    assert not store.ledger(Budget()).reserved()


async def test_a_provider_that_asks_to_wait_is_not_tried_before() -> None:
    provider = Provider(retry_after_s=3600.0)
    llm = PatientLLM(provider, 10_000.0, lambda outage: None, first_pause_s=0.01)
    call = asyncio.create_task(llm.complete(Prompt("", "a")))
    await asyncio.sleep(0.2)
    assert provider.asked == 1
    call.cancel()


async def test_a_refusal_is_no_outage() -> None:
    class Refusing(Provider):
        async def complete(self, prompt: Prompt) -> Completion:
            raise LLMRefusedError("bad key")

    llm = PatientLLM(Refusing(), 3600.0, lambda outage: None)
    with pytest.raises(LLMRefusedError):
        await llm.complete(Prompt("", "a"))
    assert not is_down(llm)


async def test_the_one_that_tries_may_be_cancelled() -> None:
    provider = Provider()
    llm = PatientLLM(provider, 3600.0, lambda outage: None, first_pause_s=0.01)
    first = asyncio.create_task(llm.complete(Prompt("", "a")))
    await _until(lambda: is_down(llm))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    provider.is_down = False
    assert (await llm.complete(Prompt("", "b"))).text == "here"


def test_the_error_survives_the_way_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(ProviderDownError("down", 7.0)))
    assert (str(error), error.retry_after_s) == ("down", 7.0)


async def _until(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.001)
