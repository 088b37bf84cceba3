"""The HTTP client under both SDKs: many connections, and no answer larger than memory can bear."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from functools import cache

import httpx2

from evolve.llm.core import LLMError

MAX_BODY_BYTES = 16 * 2**20
"""Longest body that is read, as it comes over the wire."""


class OversizedAnswerError(LLMError):
    """The provider sent more than :data:`MAX_BODY_BYTES`; reading was stopped there."""


def http_client() -> httpx2.AsyncClient:
    """A client without a limit on connections; the callers bound their calls in flight. Time limits are theirs too."""
    return httpx2.AsyncClient(
        verify=tls_context(),
        event_hooks={"response": [_cap]},
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=256),
        timeout=None,
        follow_redirects=True,
    )


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
