"""``openai:MODEL``: OpenAI and every server that speaks its wire format (``OPENAI_BASE_URL``)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import httpx2
import openai

from evolve.llm.core import LLM, Completion, LLMRefusedError, Prompt
from evolve.llm.loops import PerLoop
from evolve.llm.pricing import known_models, near_models
from evolve.llm.providers import MissingKeyError, ProviderSettings, UnknownModelError
from evolve.llm.retry import Answer, TransientError, complete_with_retries, retry_after_s, transient_status
from evolve.llm.transport import http_client, innermost

# What to send instead when a server refuses a parameter by name; None leaves it out.
_ALTERNATIVES: Mapping[str, str | None] = {"max_completion_tokens": "max_tokens", "temperature": None}
_NOT_JSON = (json.JSONDecodeError, AttributeError, TypeError, IndexError, KeyError)


class OpenAILLM:
    """One model behind chat completions or the responses API (``settings.openai_api``).

    Models differ in the parameters they take. A parameter that is refused by name is swapped or left out, once, and the
    lesson is kept for the calls that follow.
    """

    def __init__(self, model: str, settings: ProviderSettings, *, api_key: str, base_url: str | None = None) -> None:
        self._name = model
        self._settings = settings
        self._api_key = api_key
        self._swapped: dict[str, str | None] = {}
        self._client = PerLoop(
            lambda: openai.AsyncOpenAI(
                api_key=api_key, base_url=base_url, max_retries=0, timeout=None, http_client=http_client()
            )
        )

    @property
    def model(self) -> str:
        return f"openai:{self._name}"

    async def complete(self, prompt: Prompt) -> Completion:
        return await complete_with_retries(self.model, prompt, lambda: self._ask(prompt), self._settings)

    async def _ask(self, prompt: Prompt) -> Answer:
        """One attempt; a request that only teaches which parameters the model takes does not count as one."""
        for _ in range(1 + len(_ALTERNATIVES)):
            parameters = self._parameters(prompt)
            try:
                return await self._request(prompt, parameters)
            except openai.BadRequestError as error:
                refused = _named(error, parameters)
                if refused not in _ALTERNATIVES:
                    raise self._refused(error) from error
                self._swapped[refused] = _ALTERNATIVES[refused]
        raise LLMRefusedError(f"{self.model} refuses each way to state the length and temperature of an answer")

    async def _request(self, prompt: Prompt, parameters: dict[str, object]) -> Answer:
        ask = self._chat if self._settings.openai_api == "chat" else self._responses
        try:
            return await ask(prompt, parameters)
        except (openai.APIConnectionError, aiohttp.ClientError) as error:
            raise TransientError(f"no connection or a broken one ({innermost(error)})") from error
        except openai.BadRequestError:
            raise
        except openai.APIStatusError as error:
            # OpenAI answers 429 to an empty account as well; no wait refills that.
            if transient_status(error.status_code) and error.code != "insufficient_quota":
                reason = f"HTTP {error.status_code} {self._brief(error)}"
                raise TransientError(reason, retry_after_s(error.response.headers)) from error
            raise self._refused(error) from error
        except _NOT_JSON as error:
            raise TransientError(f"the answer is not what the API documents ({type(error).__name__})") from error

    def _parameters(self, prompt: Prompt) -> dict[str, object]:
        length = "max_completion_tokens" if self._settings.openai_api == "chat" else "max_output_tokens"
        wanted: dict[str, object] = {length: prompt.max_output_tokens, "temperature": prompt.temperature}
        renamed = {self._swapped.get(name, name): value for name, value in wanted.items()}
        return {name: value for name, value in renamed.items() if name is not None}

    async def _chat(self, prompt: Prompt, parameters: dict[str, object]) -> Answer:
        messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
        messages.append({"role": "user", "content": prompt.user})
        reply = await self._post("/chat/completions", {"model": self._name, "messages": messages, **parameters})
        choice = reply["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text, refusal = message.get("content") or "", message.get("refusal")
        if refusal or reason == "content_filter":
            text, reason = text or refusal or "", "refusal"
        tokens = _tokens(prompt, text, reply.get("usage"), "prompt_tokens", "completion_tokens")
        return Answer(text, *tokens, reason if reason in ("length", "refusal") else "stop")

    async def _responses(self, prompt: Prompt, parameters: dict[str, object]) -> Answer:
        body = {"model": self._name, "input": prompt.user, "store": False, **parameters}
        reply = await self._post("/responses", {"instructions": prompt.system, **body} if prompt.system else body)
        contents = [part for item in reply["output"] if item["type"] == "message" for part in item["content"]]
        text = "".join(part["text"] for part in contents if part["type"] == "output_text")
        refusals = [part["refusal"] for part in contents if part["type"] == "refusal"]
        cut_by = (reply.get("incomplete_details") or {}).get("reason")
        reason = {"max_output_tokens": "length", "content_filter": "refusal"}.get(cut_by or "", "stop")
        if refusals:
            text, reason = text or refusals[0], "refusal"
        tokens = _tokens(prompt, text, reply.get("usage"), "input_tokens", "output_tokens")
        return Answer(text, *tokens, reason)

    async def _post(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        """The SDK's request by path: its typed methods walk each message against their types, which takes longer than
        all the rest of a call."""
        raw = await self._client.get().post(path, body=body, cast_to=httpx2.Response)
        return _json(raw.content)

    def _refused(self, error: openai.APIStatusError) -> LLMRefusedError:
        hint = ""
        if error.status_code == 401:
            hint = "; check OPENAI_API_KEY"
        elif error.status_code == 404:
            hint = near_models("openai", self._name) or "; check llm.model and OPENAI_BASE_URL"
        return LLMRefusedError(f"{self.model} refused the request: HTTP {error.status_code} {self._brief(error)}{hint}")

    def _brief(self, error: openai.APIStatusError) -> str:
        message = error.body.get("message") if isinstance(error.body, dict) else None
        return " ".join(str(message or error.message).replace(self._api_key, "***").split())[:200]


def create(model: str, *, seed: int, settings: ProviderSettings) -> LLM:
    """``openai:MODEL`` with the key in ``OPENAI_API_KEY`` and, for other servers, ``OPENAI_BASE_URL``."""
    if not model:
        raise UnknownModelError(f"openai needs a model: openai:MODEL, for example openai:{known_models('openai')[0]}")
    key = os.environ.get("OPENAI_API_KEY")
    if not key:
        raise MissingKeyError(
            f"openai:{model} needs a key: set OPENAI_API_KEY (any value if OPENAI_BASE_URL is a server without keys)"
        )
    return OpenAILLM(model, settings, api_key=key)


def _json(body: bytes) -> dict[str, Any]:
    """A body as an object. Bytes that are not UTF-8 are replaced, for the answer around them is paid for.

    Raises ``JSONDecodeError`` or ``TypeError``."""
    document = json.loads(body.decode("utf-8", "replace"))
    if not isinstance(document, dict):
        raise TypeError(f"a JSON object was expected, not {type(document).__name__}")
    return document


def _named(error: openai.BadRequestError, parameters: Mapping[str, object]) -> str:
    """Which of the parameters sent the server complains of; empty if none."""
    if error.param:
        return error.param if error.param in parameters else ""
    return next((name for name in parameters if re.search(rf"\b{name}\b", str(error))), "")


def _tokens(
    prompt: Prompt, text: str, usage: Mapping[str, object] | None, name_in: str, name_out: str
) -> tuple[int, int]:
    """Tokens in and out as the server counts them; characters / 4 where it does not."""
    counts = [(usage or {}).get(name) for name in (name_in, name_out)]
    estimates = [-(-len(prompt.system + prompt.user) // 4), -(-len(text) // 4)]
    tokens_in, tokens_out = (c if isinstance(c, int) else e for c, e in zip(counts, estimates, strict=True))
    return tokens_in, tokens_out
