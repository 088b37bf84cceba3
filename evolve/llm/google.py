"""``google:MODEL``: Gemini models through google-genai (``GOOGLE_GEMINI_BASE_URL`` for another endpoint)."""

from __future__ import annotations

import json
import os

import aiohttp
import httpx2
from google import genai
from google.genai import errors, types
from pydantic import ValidationError

from evolve.llm.core import LLM, Completion, LLMRefusedError, Prompt
from evolve.llm.loops import PerLoop
from evolve.llm.pricing import known_models, near_models
from evolve.llm.providers import MissingKeyError, ProviderSettings, UnknownModelError
from evolve.llm.retry import Answer, TransientError, complete_with_retries, retry_after_s, transient_status
from evolve.llm.transport import http_client, innermost, tls_context

_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
_NOT_JSON = (json.JSONDecodeError, ValidationError, AttributeError, TypeError, IndexError)


class GoogleLLM:
    """One Gemini model. Thinking is billed as output and counted as such."""

    def __init__(self, model: str, settings: ProviderSettings, *, api_key: str, base_url: str | None = None) -> None:
        self._name = model
        self._settings = settings
        self._api_key = api_key
        self._client = PerLoop(
            lambda: genai.Client(
                vertexai=False,
                api_key=api_key,
                # A client of our own: the SDK's aiohttp path, which it would take otherwise, retries by itself. The
                # synchronous one is never used; without it the SDK would load all certificates again.
                http_options=types.HttpOptions(
                    base_url=base_url,
                    httpx_async_client=http_client(),
                    httpx_client=httpx2.Client(verify=tls_context()),
                ),
            )
        )

    @property
    def model(self) -> str:
        return f"google:{self._name}"

    async def complete(self, prompt: Prompt) -> Completion:
        return await complete_with_retries(self.model, prompt, lambda: self._ask(prompt), self._settings)

    async def _ask(self, prompt: Prompt) -> Answer:
        config = types.GenerateContentConfig(
            system_instruction=prompt.system or None,
            temperature=prompt.temperature,
            max_output_tokens=prompt.max_output_tokens,
        )
        try:
            reply = await self._client.get().aio.models.generate_content(
                model=self._name, contents=prompt.user, config=config
            )
            return _answer(reply, prompt)
        except (httpx2.RequestError, aiohttp.ClientError, OSError) as error:
            raise TransientError(f"no connection or a broken one ({innermost(error)})") from error
        except errors.APIError as error:
            if transient_status(error.code):
                headers = getattr(error.response, "headers", {})
                raise TransientError(f"HTTP {error.code} {self._brief(error)}", retry_after_s(headers)) from error
            raise self._refused(error) from error
        except _NOT_JSON as error:
            raise TransientError(f"the answer is not what the API documents ({type(error).__name__})") from error

    def _refused(self, error: errors.APIError) -> LLMRefusedError:
        hint = ""
        message = self._brief(error)
        if error.code in (401, 403) or "API key" in message:
            hint = f"; check {' or '.join(_KEYS)}"
        elif error.code == 404:
            hint = near_models("google", self._name) or "; check llm.model and GOOGLE_GEMINI_BASE_URL"
        return LLMRefusedError(f"{self.model} refused the request: HTTP {error.code} {message}{hint}")

    def _brief(self, error: errors.APIError) -> str:
        return " ".join(str(error.message or error.status or "").replace(self._api_key, "***").split())[:200]


def create(model: str, *, seed: int, settings: ProviderSettings) -> LLM:
    """``google:MODEL`` with the key in ``GEMINI_API_KEY`` or ``GOOGLE_API_KEY``."""
    if not model:
        raise UnknownModelError(f"google needs a model: google:MODEL, for example google:{known_models('google')[0]}")
    key = next((os.environ[name] for name in _KEYS if os.environ.get(name)), None)
    if key is None:
        raise MissingKeyError(f"google:{model} needs a key: set {' or '.join(_KEYS)}")
    return GoogleLLM(model, settings, api_key=key)


def _answer(reply: types.GenerateContentResponse, prompt: Prompt) -> Answer:
    candidate = reply.candidates[0] if reply.candidates else None
    parts = (candidate.content.parts or []) if candidate is not None and candidate.content is not None else []
    text = "".join(part.text or "" for part in parts if not part.thought)
    blocked = reply.prompt_feedback is not None and reply.prompt_feedback.block_reason is not None
    usage = reply.usage_metadata
    if usage is None:
        tokens = (-(-len(prompt.system + prompt.user) // 4), -(-len(text) // 4))
    else:
        asked = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
        tokens = (asked, (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0))
    if candidate is None and not blocked and usage is None:
        raise TypeError("neither candidates nor a reason for their absence")
    return Answer(text, *tokens, _finish_reason(candidate, blocked))


def _finish_reason(candidate: types.Candidate | None, blocked: bool) -> str:
    reason = candidate.finish_reason if candidate is not None else None
    if blocked or reason in (
        types.FinishReason.SAFETY,
        types.FinishReason.RECITATION,
        types.FinishReason.BLOCKLIST,
        types.FinishReason.PROHIBITED_CONTENT,
        types.FinishReason.SPII,
    ):
        return "refusal"
    return "length" if reason is types.FinishReason.MAX_TOKENS else "stop"
