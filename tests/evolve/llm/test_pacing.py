"""Token buckets, and a pace that callers share."""

from __future__ import annotations

import asyncio
import time

import pytest

from evolve.llm.core import Prompt, ProviderDownError
from evolve.llm.openai import OpenAILLM
from evolve.llm.pacing import Bucket, MemoryBuckets, Pacer, Rates
from evolve.llm.providers import ProviderSettings
from tests.evolve.llm.loopback import Fault, Loopback, always


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_bucket_fills_at_its_rate_and_no_further() -> None:
    clock = Clock()
    buckets, bucket = MemoryBuckets(clock), Bucket("b", 2.0, 0.5)
    assert [buckets.take([(bucket, 1.0)]) for _ in range(3)] == [0.0, 0.0, pytest.approx(2.0)]
    clock.now_s = 2.0
    assert buckets.take([(bucket, 1.0)]) == 0.0
    clock.now_s = 1000.0
    assert [buckets.take([(bucket, 1.0)]) for _ in range(3)] == [0.0, 0.0, pytest.approx(2.0)]


async def test_in_any_minute_no_more_than_the_limit_and_a_seconds_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, times = Clock(), list[float]()

    async def sleep(seconds: float) -> None:
        clock.now_s += seconds

    monkeypatch.setattr("evolve.llm.pacing.asyncio.sleep", sleep)
    pacer = Pacer(Rates(requests_per_minute=90.0), MemoryBuckets(clock))
    for _ in range(400):
        await pacer.enter("m", 10, 10)
        times.append(clock.now_s)
    assert max(sum(t <= u < t + 60 for u in times) for t in times) <= 92
    assert times[-1] == pytest.approx(400 / 1.5, rel=0.02)


async def test_tokens_are_taken_for_what_answers_usually_cost_and_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        clock.now_s += seconds

    monkeypatch.setattr("evolve.llm.pacing.asyncio.sleep", sleep)
    pacer = Pacer(Rates(tokens_per_minute=6000.0), MemoryBuckets(clock))
    used = 0
    for _ in range(200):
        taken = await pacer.enter("m", 100, 8000)  # an answer may be long, and has 50 tokens
        pacer.leave("m", taken, 100, 50)
        used += 150
    assert used / clock.now_s * 60 == pytest.approx(6000, rel=0.05)


async def test_every_attempt_is_paced_the_failed_ones_too() -> None:
    settings = ProviderSettings(
        max_attempts=3, backoff_s=0.001, pacer=Pacer(Rates(requests_per_minute=120.0), MemoryBuckets())
    )
    with Loopback(always("here"), [Fault.SERVER_ERROR, Fault.SERVER_ERROR]) as server:
        llm = OpenAILLM("m", settings, api_key="k", base_url=server.openai_url)
        started = time.monotonic()
        await asyncio.gather(llm.complete(Prompt("", "a")), llm.complete(Prompt("", "b")))
    assert len(server.arrivals) == 4
    assert time.monotonic() - started >= 0.9  # four at two a second, of which two at once


async def test_a_failed_attempt_gives_its_tokens_back() -> None:
    buckets = MemoryBuckets(lambda: 0.0)
    settings = ProviderSettings(
        max_attempts=1, backoff_s=0.001, pacer=Pacer(Rates(tokens_per_minute=60_000.0), buckets)
    )
    with Loopback(always("here"), [Fault.SERVER_ERROR]) as server:
        llm = OpenAILLM("m", settings, api_key="k", base_url=server.openai_url)
        with pytest.raises(ProviderDownError):
            await llm.complete(Prompt("", "a", max_output_tokens=900))
    assert buckets.take([(Bucket("openai:m:tokens", 1000.0, 1000.0), 1000.0)]) == 0.0


async def test_the_wait_for_ones_turn_is_no_timeout() -> None:
    settings = ProviderSettings(
        timeout_s=4.0, max_attempts=1, pacer=Pacer(Rates(requests_per_minute=12.0), MemoryBuckets())
    )
    with Loopback(always("here")) as server:
        llm = OpenAILLM("m", settings, api_key="k", base_url=server.openai_url)
        started = time.monotonic()
        await asyncio.gather(llm.complete(Prompt("", "a")), llm.complete(Prompt("", "b")))
    assert time.monotonic() - started >= 4.5
