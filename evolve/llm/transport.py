"""The HTTP client under both SDKs: many connections, and no answer larger than memory can bear."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from functools import cache

import httpx2

from evolve.llm.core import LLMError
from evolve.llm.loops import PerLoop, at_loop_end

MAX_BODY_BYTES = 16 * 2**20
"""Longest body that is read, as it comes over the wire."""

_NO_LIMITS = httpx2.Limits(max_connections=0)
"""As aiohttp reads it."""


class OversizedAnswerError(LLMError):
    """The provider sent more than :data:`MAX_BODY_BYTES`; reading was stopped there."""


def http_client() -> httpx2.AsyncClient:
    """The running loop's client, closed at its end, without a limit on connections; the callers bound their calls in
    flight. Time limits are theirs too. Beside ``httpx2.RequestError`` it raises ``aiohttp.ClientError``.

    Its transport is aiohttp, as the OpenAI SDK offers it: with hundreds of calls in flight connections of httpx2's
    own cost a seventh more processor time a child."""
    return _CLIENT.get()


def _open() -> httpx2.AsyncClient:
    from openai import DefaultAioHttpClient

    client = DefaultAioHttpClient(
        verify=tls_context(),
        event_hooks={"response": [_cap]},
        limits=_NO_LIMITS,
        timeout=None,
        follow_redirects=True,
    )
    at_loop_end(client.aclose)
    return client


_CLIENT = PerLoop(_open)


def innermost(error: BaseException) -> str:
    """The name of what was first wrong with a connection, below what the libraries made of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


@cache
def tls_context() -> ssl.SSLContext:
    """Loading the certificates takes longer than a short call; once is enough."""
    return httpx2.create_ssl_context()


async def _cap(response: httpx2.Response) -> None:
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _CappedStream(response.stream)


class _CappedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > MAX_BODY_BYTES:
                raise OversizedAnswerError(f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB; it was not read")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
