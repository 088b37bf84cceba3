"""Both SDKs against a server on this machine that answers in the documented formats, and misbehaves."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate

import pytest

from evolve.archive.memory import MemoryStore
from evolve.llm.budget import Budget, Usage
from evolve.llm.core import LLM, LLMError, LLMRefusedError, Prompt
from evolve.llm.google import GoogleLLM
from evolve.llm.openai import OpenAILLM
from evolve.llm.providers import ProviderSettings
from evolve.llm.recording import RecordedLLM
from evolve.llm.retry import MAX_TEXT_CHARS, retry_after_s
from tests.evolve.llm.loopback import HUGE_CHARS, PASSING, Asked, Fault, Loopback, always, mixed

KEY = "canary-key-3141592653"
PROMPT = Prompt("You write programs.", "Write one, please.", temperature=0.7, max_output_tokens=321)
FEW = ProviderSettings(timeout_s=60.0, max_attempts=3, backoff_s=0.01)

Connect = Callable[..., LLM]


def _chat(server: Loopback, settings: ProviderSettings = FEW, model: str = "gpt-4.1") -> LLM:
    return OpenAILLM(model, settings, api_key=KEY, base_url=server.openai_url)


def _responses(server: Loopback, settings: ProviderSettings = FEW, model: str = "gpt-4.1") -> LLM:
    with_responses = ProviderSettings(settings.timeout_s, settings.max_attempts, settings.backoff_s, "responses")
    return OpenAILLM(model, with_responses, api_key=KEY, base_url=server.openai_url)


def _google(server: Loopback, settings: ProviderSettings = FEW, model: str = "gemini-2.5-flash") -> LLM:
    return GoogleLLM(model, settings, api_key=KEY, base_url=server.google_url)


@pytest.fixture(params=[_chat, _responses, _google], ids=["chat", "responses", "gemini"])
def connect(request: pytest.FixtureRequest) -> Connect:
    made: Connect = request.param
    return made


async def test_a_plain_answer(connect: Connect) -> None:
    with Loopback(always("print('hello')")) as server:
        completion = await connect(server).complete(PROMPT)
        (asked,) = server.requests
    assert (completion.text, completion.finish_reason) == ("print('hello')", "stop")
    assert (completion.tokens_in, completion.tokens_out) == server.tokens
    assert completion.usd is not None and completion.usd > 0
    assert completion.latency_s > 0
    assert (asked.system, asked.user) == (PROMPT.system, PROMPT.user)
    assert asked.parameters["temperature"] == 0.7
    assert 321 in asked.parameters.values()


async def test_a_model_without_a_price_has_no_cost(connect: Connect) -> None:
    with Loopback(always("hi")) as server:
        completion = await connect(server, model="home-made").complete(PROMPT)
    assert completion.usd is None
    assert completion.tokens_out == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault.RATE_LIMIT,
        Fault.SERVER_ERROR,
        Fault.RESET,
        Fault.NO_HTTP,
        Fault.TRUNCATED_JSON,
        Fault.WRONG_JSON,
        Fault.EMPTY,
    ],
)
async def test_what_may_pass_is_tried_again(connect: Connect, fault: Fault) -> None:
    with Loopback(always("here"), [fault, fault]) as server:
        completion = await connect(server).complete(PROMPT)
        assert server.met == {fault: 2, None: 1}
    assert (completion.text, completion.finish_reason) == ("here", "stop")
    assert (completion.tokens_in, completion.tokens_out) == server.tokens  # empty answers are paid for too


async def test_a_hanging_server_is_left(connect: Connect) -> None:
    settings = ProviderSettings(timeout_s=2.0, max_attempts=8, backoff_s=0.01)
    with Loopback(always("here"), [Fault.HANG]) as server:
        completion = await connect(server, settings).complete(PROMPT)
        assert server.met[Fault.HANG] == 1
    assert completion.text == "here"


@pytest.mark.parametrize(
    "fault", [Fault.RATE_LIMIT, Fault.SERVER_ERROR, Fault.RESET, Fault.NO_HTTP, Fault.TRUNCATED_JSON]
)
async def test_what_does_not_pass_ends_in_an_error(connect: Connect, fault: Fault) -> None:
    store = MemoryStore("run")
    ledger = store.ledger(Budget(llm_calls=1))
    with Loopback(always("here"), itertools.repeat(fault)) as server:
        with pytest.raises(LLMError, match="gave up after 3 attempts") as caught:
            await RecordedLLM(connect(server), store.completions, ledger).complete(PROMPT)
        assert len(server.requests) == 3
    assert "\n" not in str(caught.value)
    assert ledger.spent() == Usage()
    assert not ledger.reserved()


async def test_only_empty_answers_are_an_empty_completion_that_is_charged(connect: Connect) -> None:
    with Loopback(always(""), itertools.repeat(Fault.EMPTY)) as server:
        completion = await connect(server).complete(PROMPT)
        assert len(server.billed) == 3
    assert (completion.text, completion.finish_reason) == ("", "empty")
    assert (completion.tokens_in, completion.tokens_out) == server.tokens


async def test_empty_answers_before_a_failure_are_charged(connect: Connect) -> None:
    with Loopback(always(""), [Fault.EMPTY, Fault.SERVER_ERROR, Fault.SERVER_ERROR]) as server:
        completion = await connect(server).complete(PROMPT)
    assert completion.finish_reason == "empty"
    assert (completion.tokens_in, completion.tokens_out) == server.tokens


@pytest.mark.parametrize(("fault", "reason"), [(Fault.REFUSAL, "refusal"), (Fault.LENGTH, "length")])
async def test_answers_that_are_none_are_data(connect: Connect, fault: Fault, reason: str) -> None:
    with Loopback(always("half a prog"), [fault]) as server:
        completion = await connect(server).complete(PROMPT)
        assert len(server.requests) == 1
    assert completion.finish_reason == reason
    assert (completion.tokens_in, completion.tokens_out) == server.tokens


async def test_a_huge_answer_is_cut(connect: Connect) -> None:
    with Loopback(always(""), [Fault.HUGE]) as server:
        completion = await connect(server).complete(PROMPT)
        assert len(server.requests) == 1
    assert (len(completion.text), completion.finish_reason) == (MAX_TEXT_CHARS, "length")
    assert completion.tokens_out == HUGE_CHARS // 4


async def test_an_answer_beyond_all_bounds_is_not_read(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolve.llm.transport.MAX_BODY_BYTES", 2**20)
    with Loopback(always(""), [Fault.HUGE]) as server:
        with pytest.raises(LLMError, match="larger than 1 MiB"):
            await connect(server).complete(PROMPT)
        assert len(server.requests) == 1


async def test_bytes_that_are_no_utf8_do_not_cost_the_answer(connect: Connect) -> None:
    with Loopback(always("sound"), [Fault.INVALID_UTF8]) as server:
        completion = await connect(server).complete(PROMPT)
        assert len(server.requests) == 1
    assert completion.text.endswith("sound")
    assert "\ufffd" in completion.text


async def test_half_a_surrogate_pair_can_be_stored(connect: Connect) -> None:
    with Loopback(always("a\ud83db")) as server:
        completion = await connect(server).complete(PROMPT)
    assert completion.text == "a?b"


@pytest.mark.parametrize("fault", [Fault.BAD_KEY, Fault.NO_SUCH_MODEL])
async def test_a_refused_request_is_not_tried_again(connect: Connect, fault: Fault) -> None:
    with Loopback(always(""), [fault]) as server:
        with pytest.raises(LLMRefusedError) as caught:
            await connect(server).complete(PROMPT)
        assert len(server.requests) == 1
    message = str(caught.value)
    assert "\n" not in message
    assert KEY not in message
    assert ("_API_KEY" if fault is Fault.BAD_KEY else "404") in message


async def test_a_mistyped_model_gets_a_hint() -> None:
    with Loopback(always(""), itertools.repeat(Fault.NO_SUCH_MODEL)) as server:
        with pytest.raises(LLMRefusedError, match=r"did you mean gpt-4\.1-mini"):
            await _chat(server, model="gpt-4.1-mni").complete(PROMPT)
        with pytest.raises(LLMRefusedError, match=r"did you mean gemini-2\.5-pro"):
            await _google(server, model="gemini-2.5-por").complete(PROMPT)


async def test_retry_after_is_waited_for(connect: Connect) -> None:
    with Loopback(always("here"), [Fault.RATE_LIMIT], retry_after_s=0.7) as server:
        await connect(server).complete(PROMPT)
        first, second = server.arrivals
    assert second - first >= 0.7  # a lower bound: no load can break it


async def test_a_wait_that_is_too_long_is_an_error(connect: Connect) -> None:
    with Loopback(always("here"), [Fault.RATE_LIMIT], retry_after_s=86_400) as server:
        with pytest.raises(LLMError, match="Slow down"):
            await connect(server).complete(PROMPT)
        assert len(server.requests) == 1


def test_retry_after_forms() -> None:
    assert retry_after_s({"retry-after": "3.5"}) == 3.5
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    in_a_minute = retry_after_s({"retry-after": formatdate(time.time() + 3600, usegmt=True)})
    assert in_a_minute is not None and 3000 < in_a_minute <= 3600
    assert retry_after_s({"retry-after": formatdate(0, usegmt=True)}) == 0.0
    for nonsense in ({}, {"retry-after": "soon"}, {"retry-after": ""}, {"retry-after-ms": "x"}):
        assert retry_after_s(nonsense) is None


async def test_connections_are_as_many_as_calls_at_a_time_and_are_used_again(connect: Connect) -> None:
    arrived = 0

    async def once_all_are_there(asked: Asked) -> str:
        nonlocal arrived
        arrived += 1
        wave = -(-arrived // 40) * 40
        while arrived < wave:
            await asyncio.sleep(0.005)
        return "here"

    with Loopback(once_all_are_there) as server:
        llm = connect(server)
        for _ in range(3):
            await asyncio.gather(*(llm.complete(Prompt("", f"call {i}")) for i in range(40)))
        assert set(server.clients.values()) == {3}
        assert len(server.clients) == 40


async def test_a_call_that_is_given_up_leaves_room_for_others(connect: Connect) -> None:
    with Loopback(always("here"), [Fault.HANG] * 5, hang_s=0.5) as server:
        llm = connect(server)
        calls = [asyncio.create_task(llm.complete(Prompt("", f"call {i}"))) for i in range(5)]
        while len(server.requests) < 5:
            await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        answers = await asyncio.gather(*(llm.complete(Prompt("", f"then {i}")) for i in range(10)))
        assert {answer.text for answer in answers} == {"here"}


BOTH = ["temperature", "max_completion_tokens"]


@pytest.mark.parametrize("refused", [BOTH[:1], BOTH[1:], BOTH])
async def test_parameters_refused_by_name_are_adapted_once(refused: list[str]) -> None:
    with Loopback(always("here"), refused_parameters=refused) as server:
        llm = _chat(server)
        together = await asyncio.gather(*(llm.complete(Prompt("", f"first {i}")) for i in range(8)))
        before = len(server.requests)
        await llm.complete(Prompt("", "then"))
        assert len(server.requests) == before + 1
        last = server.requests[-1].parameters
    assert [c.text for c in together] == ["here"] * 8
    assert not set(refused) & last.keys()
    assert ("max_tokens" in last) == ("max_completion_tokens" in refused)


async def test_parameters_refused_in_every_form_are_an_error() -> None:
    refused = ["max_completion_tokens", "max_tokens"]
    with Loopback(always("here"), refused_parameters=refused) as server, pytest.raises(LLMRefusedError, match="max_"):
        await _chat(server).complete(PROMPT)


def test_one_llm_serves_several_event_loops(connect: Connect) -> None:
    with Loopback(always("here")) as server:
        llm = connect(server)
        texts = [asyncio.run(llm.complete(PROMPT)).text for _ in range(2)]
    assert texts == ["here", "here"]


def _no_hang(faults: Iterable[Fault | None]) -> Iterable[Fault | None]:
    return (fault for fault in faults if fault is not Fault.HANG)


async def test_under_mixed_faults_the_account_is_exact_and_nothing_is_paid_twice(connect: Connect) -> None:
    prompts = [Prompt("", f"question {i}", sample=str(i)) for i in range(60)]
    store = MemoryStore("run")
    ledger = store.ledger(Budget())
    settings = ProviderSettings(timeout_s=60.0, max_attempts=12, backoff_s=0.01)
    with Loopback(always("A program."), _no_hang(mixed(0.4)), retry_after_s=0.01) as server:
        llm = RecordedLLM(connect(server, settings), store.completions, ledger)
        completions = await asyncio.gather(*(llm.complete(prompt) for prompt in prompts))
        assert len(set(server.met) & set(PASSING)) >= 5
        paid, requests = server.tokens, len(server.requests)
        again = await asyncio.gather(*(llm.complete(prompt) for prompt in prompts))
        assert len(server.requests) == requests
    assert again == completions
    assert len(list(store.completions.items())) == 60
    spent = ledger.spent()
    assert (spent.llm_calls, spent.tokens_in, spent.tokens_out) == (60, *paid)
    assert not ledger.reserved()
