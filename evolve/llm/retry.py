"""Calls to providers: what is tried again and when, and how an answer becomes a completion.

Both SDKs' own retries are off. Attempts end in an :class:`Answer`, in a :class:`TransientError` (tried again after an
exponential wait with jitter, or after as long as Retry-After asks), or in an :class:`LLMError` (final).
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import tenacity

from evolve.llm.core import Completion, Prompt, ProviderDownError
from evolve.llm.pricing import price_of
from evolve.llm.providers import ProviderSettings

_LOG = logging.getLogger(__name__)

MAX_TEXT_CHARS = 400_000
"""Longer answers are cut here and end with ``finish_reason`` ``length``; no program is that long."""

_LONGEST_WAIT_S = 60.0
_LONGEST_RETRY_AFTER_S = 300.0
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})

# Waits need no seed: they decide when, never what.
_JITTER = random.SystemRandom()


@dataclass(frozen=True)
class Answer:
    """What one attempt brought. ``finish_reason``: ``stop``, ``length`` (cut off), ``refusal`` or ``empty``."""

    text: str
    tokens_in: int
    tokens_out: int
    finish_reason: str = "stop"

    def __post_init__(self) -> None:
        """Raises ``TypeError``: servers send what they like."""
        if not (isinstance(self.text, str) and isinstance(self.tokens_in, int) and isinstance(self.tokens_out, int)):
            raise TypeError("text or token counts of the wrong type")


class TransientError(RuntimeError):
    """An attempt failed in a way that may pass. ``retry_after_s`` is how long the provider asks to wait."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def transient_status(status: int) -> bool:
    return status in _TRANSIENT_STATUS


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``retry-after-ms`` or ``Retry-After`` (seconds or HTTP date); ``None`` if not said."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after", "")
        if not value:
            return None
        seconds = float(value) if value.strip()[0].isdigit() else _seconds_until(value)
    except (ValueError, TypeError):
        return None
    return max(0.0, seconds)


def _seconds_until(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()


async def complete_with_retries(
    model: str, prompt: Prompt, attempt: Callable[[], Awaitable[Answer]], settings: ProviderSettings
) -> Completion:
    """Attempts until there is an answer. Tokens of empty answers on the way are in the count: they were paid for.

    Raises :class:`ProviderDownError` after ``settings.max_attempts``, or at once if the provider asks for too long a
    wait."""
    started = time.perf_counter()
    wasted: list[Answer] = []
    try:
        answer: Answer = await _retrying(model, settings)(_paced, model, prompt, attempt, settings, wasted)
    except TransientError as error:
        if wasted:
            # Better an empty completion, charged and on record, than tokens that no account shows.
            answer = replace(wasted.pop(), finish_reason="empty")
            return _completion(model, answer, wasted, time.perf_counter() - started)
        line = f"{model}: {error}; gave up after {settings.max_attempts} attempts"
        raise ProviderDownError(line, error.retry_after_s or 0.0) from error
    return _completion(model, answer, wasted, time.perf_counter() - started)


async def _paced(
    model: str,
    prompt: Prompt,
    attempt: Callable[[], Awaitable[Answer]],
    settings: ProviderSettings,
    wasted: list[Answer],
) -> Answer:
    """An attempt at the pace that all processes share; the wait for one's turn does not count as the provider's."""
    if settings.pacer is None:
        return await _attempt(attempt, settings, wasted)
    tokens = -(-len(prompt.system + prompt.user) // 4)
    taken = await settings.pacer.enter(model, tokens, prompt.max_output_tokens)
    used = (0, 0)
    try:
        answer = await _attempt(attempt, settings, wasted)
        used = answer.tokens_in, answer.tokens_out
        return answer
    finally:
        settings.pacer.leave(model, taken, *used)


async def _attempt(
    attempt: Callable[[], Awaitable[Answer]], settings: ProviderSettings, wasted: list[Answer]
) -> Answer:
    try:
        async with asyncio.timeout(settings.timeout_s):
            answer = await attempt()
    except TimeoutError as error:
        raise TransientError(f"no answer within {settings.timeout_s:g} s") from error
    if not answer.text.strip() and answer.finish_reason == "stop":
        wasted.append(answer)
        raise TransientError("the answer was empty")
    return answer


def _retrying(model: str, settings: ProviderSettings) -> tenacity.AsyncRetrying:
    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_s if isinstance(error, TransientError) else None
        backoff = min(_LONGEST_WAIT_S, settings.backoff_s * 2.0 ** (state.attempt_number - 1))
        jittered = backoff * _JITTER.uniform(0.5, 1.0)
        return jittered if asked is None else max(asked + jittered / 4, jittered)

    def stop(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_s if isinstance(error, TransientError) else None
        return state.attempt_number >= settings.max_attempts or (asked or 0.0) > _LONGEST_RETRY_AFTER_S

    def log(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        _LOG.info("%s: %s; attempt %d follows", model, error, state.attempt_number + 1)

    return tenacity.AsyncRetrying(
        wait=wait,
        stop=stop,
        retry=tenacity.retry_if_exception_type(TransientError),
        before_sleep=log,
        reraise=True,
    )


def _completion(model: str, answer: Answer, wasted: list[Answer], latency_s: float) -> Completion:
    tokens_in = answer.tokens_in + sum(a.tokens_in for a in wasted)
    tokens_out = answer.tokens_out + sum(a.tokens_out for a in wasted)
    # Half a surrogate pair is legal in JSON and in no encoding; it must not reach the store.
    text = answer.text[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode("utf-8")
    reason = "length" if len(answer.text) > MAX_TEXT_CHARS else answer.finish_reason
    price = price_of(model)
    usd = price.usd(tokens_in, tokens_out) if price is not None else None
    return Completion(text, model, tokens_in, tokens_out, usd, latency_s, reason)
