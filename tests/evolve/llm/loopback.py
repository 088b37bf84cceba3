"""A server on this machine that speaks OpenAI's and Gemini's wire formats, and misbehaves on request.

    python -m tests.evolve.llm.loopback --port 8399 --faults mixed

answers with the offline proposer. Clients: OPENAI_BASE_URL=http://127.0.0.1:8399/v1 OPENAI_API_KEY=any, or
GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8399 GEMINI_API_KEY=any. In tests::

    with Loopback(always("text"), [Fault.RATE_LIMIT, None]) as server:
        ...  # server.openai_url, server.google_url, server.requests, server.billed
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType

from aiohttp import web

from evolve.llm.core import Prompt
from evolve.llm.offline import OfflineLLM

HUGE_CHARS = 10_000_000


class Fault(StrEnum):
    """What a request meets instead of a plain answer. Those in :data:`BILLED` are answers and cost tokens."""

    RATE_LIMIT = "rate_limit"  # 429 with Retry-After
    SERVER_ERROR = "server_error"  # 500
    HANG = "hang"  # no answer for a long time
    RESET = "reset"  # the connection breaks in the middle of the body
    NO_HTTP = "no_http"  # bytes that no client reads as a response
    TRUNCATED_JSON = "truncated_json"  # a complete response whose JSON is not
    WRONG_JSON = "wrong_json"  # JSON of another shape
    EMPTY = "empty"
    REFUSAL = "refusal"
    LENGTH = "length"  # cut off by the token limit
    HUGE = "huge"  # 10 MB of text
    INVALID_UTF8 = "invalid_utf8"
    BAD_KEY = "bad_key"  # 401, echoing the key
    NO_SUCH_MODEL = "no_such_model"  # 404


BILLED = frozenset({Fault.EMPTY, Fault.REFUSAL, Fault.LENGTH, Fault.HUGE, Fault.INVALID_UTF8})
_NO_UTF8 = "\ue000"
"""Stands for bytes that are no UTF-8 until the body is encoded."""
PASSING = (
    Fault.RATE_LIMIT,
    Fault.SERVER_ERROR,
    Fault.HANG,
    Fault.RESET,
    Fault.NO_HTTP,
    Fault.TRUNCATED_JSON,
    Fault.WRONG_JSON,
    Fault.EMPTY,
    Fault.REFUSAL,
    Fault.LENGTH,
    Fault.INVALID_UTF8,
)
"""Faults that a run survives; :func:`mixed` draws from them."""


@dataclass(frozen=True)
class Asked:
    """One request as the model would see it, and the parameters by the names they came under."""

    model: str
    system: str
    user: str
    parameters: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Bill:
    user: str
    tokens_in: int
    tokens_out: int


AnswerFunction = Callable[[Asked], Awaitable[str]]


def always(text: str) -> AnswerFunction:
    async def answer(asked: Asked) -> str:
        return text

    return answer


def offline_answers(seed: int) -> AnswerFunction:
    """The offline proposer; like a model, it says something else when it is asked the same again."""
    llm, seen = OfflineLLM(seed), Counter[str]()

    async def answer(asked: Asked) -> str:
        seen[asked.user] += 1
        return (await llm.complete(Prompt(asked.system, asked.user, sample=str(seen[asked.user])))).text

    return answer


def mixed(share: float, seed: int = 0) -> Iterator[Fault | None]:
    """For ever: a fault with probability ``share``, each kind as likely as another."""
    rng = random.Random(seed)
    while True:
        yield rng.choice(PASSING) if rng.random() < share else None


class Loopback:
    """The server, in a thread of its own while the ``with`` block lasts.

    ``faults`` are met by requests in the order of their arrival, then there are none. ``refused_parameters`` get a 400
    that names them. ``billed`` lists the answers that were sent in full.
    """

    def __init__(
        self,
        answer: AnswerFunction,
        faults: Iterable[Fault | None] = (),
        *,
        port: int = 0,
        latency_s: float = 0.0,
        retry_after_s: float = 0.05,
        hang_s: float = 60.0,
        refused_parameters: Iterable[str] = (),
    ) -> None:
        self._answer = answer
        self._faults = iter(faults)
        self._port = port
        self._latency_s = latency_s
        self._retry_after_s = retry_after_s
        self._hang_s = hang_s
        self._refused = frozenset(refused_parameters)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loopback", daemon=True)
        self.requests: list[Asked] = []
        self.arrivals: list[float] = []
        self.departures: list[float] = []
        self.billed: list[Bill] = []
        self.met: Counter[Fault | None] = Counter()
        self.clients: Counter[object] = Counter()
        """Requests by connection, named by the client's address."""

    @property
    def google_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        return f"{self.google_url}/v1"

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens in and out of all answers sent."""
        return sum(b.tokens_in for b in self.billed), sum(b.tokens_out for b in self.billed)

    def __enter__(self) -> Loopback:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_post(r"/{version:v1|v1beta}/models/{call}", self._gemini)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        texts = {message["role"]: message["content"] for message in body["messages"]}
        parameters = {k: v for k, v in body.items() if k not in ("messages", "model")}
        asked = Asked(body["model"], texts.get("system", ""), texts["user"], parameters)
        return await self._serve(request, asked, _chat_body, _openai_error)

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        parameters = {k: v for k, v in body.items() if k not in ("instructions", "input", "model")}
        asked = Asked(body["model"], body.get("instructions") or "", body["input"], parameters)
        return await self._serve(request, asked, _responses_body, _openai_error)

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model, _, method = request.match_info["call"].partition(":")
        assert method == "generateContent"
        system = "".join(part["text"] for part in (body.get("systemInstruction") or {"parts": []})["parts"])
        user = "".join(part["text"] for content in body["contents"] for part in content["parts"])
        asked = Asked(model, system, user, body.get("generationConfig", {}))
        return await self._serve(request, asked, _gemini_body, _gemini_error)

    async def _serve(
        self, request: web.Request, asked: Asked, make_body: _BodyMaker, make_error: _ErrorMaker
    ) -> web.StreamResponse:
        self.requests.append(asked)
        self.clients[request.transport and request.transport.get_extra_info("peername")] += 1
        self.arrivals.append(time.monotonic())
        try:
            return await self._reply(request, asked, make_body, make_error)
        finally:
            self.departures.append(time.monotonic())

    async def _reply(
        self, request: web.Request, asked: Asked, make_body: _BodyMaker, make_error: _ErrorMaker
    ) -> web.StreamResponse:
        refused = sorted(self._refused & asked.parameters.keys())
        if refused:
            return _json_response(400, make_error(400, f"Unsupported parameter: '{refused[0]}'", refused[0]))
        fault = next(self._faults, None)
        self.met[fault] += 1
        await asyncio.sleep(self._hang_s if fault is Fault.HANG else self._latency_s)
        if (error := self._error(fault, request, make_error)) is not None:
            return error
        fixed = {Fault.EMPTY: "", Fault.REFUSAL: "I cannot help with that.", Fault.HUGE: "x" * HUGE_CHARS}
        text = fixed[fault] if fault in fixed else await self._answer(asked)
        if fault is Fault.INVALID_UTF8:
            text = _NO_UTF8 + text
        bill = Bill(asked.user, -(-len(asked.system + asked.user) // 4), -(-len(text) // 4))
        raw = json.dumps(make_body(asked, text, bill, fault)).encode()
        return await self._send(request, raw, fault, bill)

    def _error(self, fault: Fault | None, request: web.Request, make_error: _ErrorMaker) -> web.Response | None:
        if fault is Fault.RATE_LIMIT:
            response = _json_response(429, make_error(429, "Slow down.", None))
            response.headers["Retry-After"] = f"{self._retry_after_s:g}"
            return response
        if fault is Fault.SERVER_ERROR:
            return web.Response(status=500, text="<html>upstream fell over</html>", content_type="text/html")
        if fault is Fault.BAD_KEY:
            key = request.headers.get("Authorization", request.headers.get("x-goog-api-key", "")).split()[-1]
            return _json_response(401, make_error(401, f"Incorrect API key provided: {key}", None))
        if fault is Fault.NO_SUCH_MODEL:
            return _json_response(404, make_error(404, "The model does not exist.", None))
        return None

    async def _send(self, request: web.Request, raw: bytes, fault: Fault | None, bill: Bill) -> web.StreamResponse:
        if fault is Fault.RESET:
            response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(raw))})
            await response.prepare(request)
            await response.write(raw[: len(raw) // 2])
            assert request.transport is not None
            request.transport.abort()
            return response
        if fault is Fault.NO_HTTP:
            assert request.transport is not None
            request.transport.write(b"HTTP/1.1 what now\r\nnot a header\r\n\r\n")  # type: ignore[attr-defined]
            request.transport.close()
            return web.Response()
        if fault is Fault.TRUNCATED_JSON:
            return web.Response(body=raw[: len(raw) // 2], content_type="application/json")
        if fault is Fault.WRONG_JSON:
            return web.Response(body=b'["not", "what", "was", "asked"]', content_type="application/json")
        if fault is Fault.INVALID_UTF8:
            raw = raw.replace(json.dumps(_NO_UTF8).strip('"').encode(), b"\xff\xfe")
        self.billed.append(bill)
        return web.Response(body=raw, content_type="application/json")


_BodyMaker = Callable[[Asked, str, Bill, Fault | None], dict[str, object]]
_ErrorMaker = Callable[[int, str, str | None], dict[str, object]]


def _json_response(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")


def _openai_error(status: int, message: str, parameter: str | None) -> dict[str, object]:
    kind = "invalid_request_error" if status < 429 else "rate_limit_error"
    return {"error": {"message": message, "type": kind, "param": parameter, "code": None}}


def _gemini_error(status: int, message: str, parameter: str | None) -> dict[str, object]:
    names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
    return {"error": {"code": status, "message": message, "status": names.get(status, "UNKNOWN")}}


def _chat_body(asked: Asked, text: str, bill: Bill, fault: Fault | None) -> dict[str, object]:
    refused = fault is Fault.REFUSAL
    message = {"role": "assistant", "content": None if refused else text, "refusal": text if refused else None}
    reason = "length" if fault is Fault.LENGTH else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": asked.model,
        "choices": [{"index": 0, "finish_reason": reason, "logprobs": None, "message": message}],
        "usage": {
            "prompt_tokens": bill.tokens_in,
            "completion_tokens": bill.tokens_out,
            "total_tokens": bill.tokens_in + bill.tokens_out,
        },
    }


def _responses_body(asked: Asked, text: str, bill: Bill, fault: Fault | None) -> dict[str, object]:
    part: dict[str, object] = {"type": "output_text", "text": text, "annotations": []}
    if fault is Fault.REFUSAL:
        part = {"type": "refusal", "refusal": text}
    cut = fault is Fault.LENGTH
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "error": None,
        "model": asked.model,
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "output": [
            {"id": "rs_1", "type": "reasoning", "summary": []},
            {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]},
        ],
        "usage": {
            "input_tokens": bill.tokens_in,
            "output_tokens": bill.tokens_out,
            "total_tokens": bill.tokens_in + bill.tokens_out,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _gemini_body(asked: Asked, text: str, bill: Bill, fault: Fault | None) -> dict[str, object]:
    thoughts = bill.tokens_out // 2
    usage = {
        "promptTokenCount": bill.tokens_in,
        "candidatesTokenCount": bill.tokens_out - thoughts,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": bill.tokens_in + bill.tokens_out,
    }
    if fault is Fault.REFUSAL:
        return {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage, "modelVersion": asked.model}
    reason = "MAX_TOKENS" if fault is Fault.LENGTH else "STOP"
    parts = [{"text": "let me think", "thought": True}, {"text": text}]
    return {
        "candidates": [{"index": 0, "finishReason": reason, "content": {"role": "model", "parts": parts}}],
        "usageMetadata": usage,
        "modelVersion": asked.model,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8399)
    parser.add_argument("--faults", choices=["none", "mixed"], default="none", help="mixed: three requests in ten")
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faults: Iterable[Fault | None] = mixed(0.3, options.seed) if options.faults == "mixed" else ()
    server = Loopback(offline_answers(options.seed), faults, port=options.port, latency_s=options.latency_s)
    with server:
        print(f"OPENAI_BASE_URL={server.openai_url} GOOGLE_GEMINI_BASE_URL={server.google_url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(dict(server.met))


if __name__ == "__main__":
    main()
