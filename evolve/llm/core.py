"""The one interface to a language model: a prompt in, a completion out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Protocol


@dataclass(frozen=True)
class Prompt:
    """A request. ``sample`` tells apart repeated requests with the same text, so that each is recorded on its own."""

    system: str
    user: str
    temperature: float = 1.0
    max_output_tokens: int = 8192
    sample: str = ""

    def key(self, model: str) -> str:
        """Content key of this request to ``model``: the name under which its completion is recorded."""
        known: dict[str, str] = self.__dict__.setdefault("_keys", {})  # asked for several times on a call's way
        if model not in known:
            content = json.dumps({"model": model, **asdict(self)}, sort_keys=True, ensure_ascii=False)
            known[model] = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        return known[model]


@dataclass(frozen=True)
class Completion:
    """An answer, and what it cost. ``usd`` is ``None`` where the model's price is not known.

    ``finish_reason`` is ``stop``, ``length`` (cut off), ``refusal`` or ``empty``; all of them were paid for.
    """

    text: str
    model: str
    tokens_in: int
    tokens_out: int
    usd: float | None
    latency_s: float
    finish_reason: str = "stop"


class LLM(Protocol):
    """A model behind a provider. ``model`` is the full name, ``provider:model``."""

    @property
    def model(self) -> str: ...

    async def complete(self, prompt: Prompt) -> Completion:
        """Raises :class:`LLMError` when no answer can be had after the provider's retries."""
        ...


class LLMError(RuntimeError):
    """No completion: the message says in one line what happened and what to do."""


class LLMRefusedError(LLMError):
    """The request itself was refused (bad key, unknown model, content policy): trying again will not help."""


class ProviderDownError(LLMError):
    """Every attempt failed in a way that may pass. ``retry_after_s`` is how long the provider asks to wait."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message, retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return str(self.args[0])


class BudgetExhaustedError(RuntimeError):
    """The run's budget does not allow this call. The run ends cleanly; it is no failure."""


class NotAskedError(RuntimeError):
    """The call waited for its turn when its search was told to end. It was not made, so nothing was paid."""
