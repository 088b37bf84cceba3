"""The HTTP client under both SDKs: many connections, and no answer larger than memory can bear."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from functools import cache
from urllib.request import getproxies

import httpx2

from evolve.llm.core import LLMError

MAX_BODY_BYTES = 16 * 2**20
"""Longest body that is read, as it comes over the wire."""

_NO_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=256)
_ONE_CONNECTION = httpx2.Limits(max_connections=1, max_keepalive_connections=1)


class OversizedAnswerError(LLMError):
    """The provider sent more than :data:`MAX_BODY_BYTES`; reading was stopped there."""


def http_client() -> httpx2.AsyncClient:
    """A client without a limit on connections; the callers bound their calls in flight. Time limits are theirs too."""
    # Behind a proxy the library's own pool serves: it alone knows the environment's rules on what goes around it.
    return httpx2.AsyncClient(
        verify=tls_context(),
        event_hooks={"response": [_cap]},
        limits=_NO_LIMITS,
        timeout=None,
        follow_redirects=True,
        transport=None if getproxies() else LaneTransport(),
    )


@cache
def tls_context() -> ssl.SSLContext:
    """Loading the certificates takes longer than a short call; once is enough."""
    return httpx2.create_ssl_context()


class LaneTransport(httpx2.AsyncBaseTransport):
    """As many connections as there are requests at a time, the one used last first.

    The library's pool looks at all its connections, down to their sockets, at each begin and end of a request: with
    hundreds in flight that is most of what a call costs. Here each connection is a pool of one, and a request takes the
    next that is free. For one event loop."""

    def __init__(self) -> None:
        self._free: list[httpx2.AsyncHTTPTransport] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        lane = self._free.pop() if self._free else _lane()
        try:
            response = await lane.handle_async_request(request)
        except BaseException:  # a broken connection is closed by its lane, which opens another for the next request
            self._free.append(lane)
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _LaneStream(response.stream, lane, self._free)
        return response

    async def aclose(self) -> None:
        while self._free:
            await self._free.pop().aclose()


def _lane() -> httpx2.AsyncHTTPTransport:
    return httpx2.AsyncHTTPTransport(verify=tls_context(), limits=_ONE_CONNECTION)


class _LaneStream(httpx2.AsyncByteStream):
    """A body; once it is read or given up its lane is free again."""

    def __init__(
        self, stream: httpx2.AsyncByteStream, lane: httpx2.AsyncHTTPTransport, free: list[httpx2.AsyncHTTPTransport]
    ) -> None:
        self._stream = stream
        self._lane: httpx2.AsyncHTTPTransport | None = lane
        self._free = free

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            if self._lane is not None:
                self._free.append(self._lane)
                self._lane = None


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
