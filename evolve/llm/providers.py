"""Models by name: ``offline``, ``replay:PATH``, ``openai:MODEL``, ``google:MODEL``, or several with weights.

A provider is a module of this package with a function ``create(model, *, seed, settings) -> LLM``; its name is the
module's. Adding one is adding that file. Provider modules are imported when they are asked for, for their SDKs are slow
to load.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import evolve.llm
from evolve.llm.core import LLM, LLMRefusedError
from evolve.llm.pacing import Pacer


@dataclass(frozen=True)
class ProviderSettings:
    """How providers over the network are called.

    ``timeout_s`` bounds one attempt as a whole. Failures that may pass (rate limits, 5xx, timeouts, broken or empty
    answers) are tried ``max_attempts`` times in all, after waits that start at ``backoff_s`` and double, with jitter.
    ``openai_api`` selects OpenAI's chat completions or its responses API. ``pacer`` keeps all processes together to the
    rates of each model.
    """

    timeout_s: float = 180.0
    max_attempts: int = 6
    backoff_s: float = 1.0
    openai_api: Literal["chat", "responses"] = "chat"
    pacer: Pacer | None = None


@dataclass(frozen=True)
class WeightedModel:
    """One member of an ensemble: the share of prompts it answers is its weight over the sum of all weights."""

    model: str
    weight: float = 1.0


class UnknownModelError(ValueError):
    """No such provider, or a model name that is missing or superfluous. One line, with near matches."""


class MissingKeyError(LLMRefusedError):
    """The provider's key is not in the environment. One line that says which variable to set."""


Provider = Callable[..., LLM]


def make_llm(
    model: str | Sequence[WeightedModel],
    *,
    seed: int,
    settings: ProviderSettings | None = None,
) -> LLM:
    """The model named ``PROVIDER`` or ``PROVIDER:MODEL``; a sequence makes an ensemble of them.

    ``seed`` feeds providers that draw random numbers themselves (``offline``). No request is made.
    Raises :class:`UnknownModelError`, :class:`MissingKeyError`, or a ``ValueError`` of the provider's own.
    """
    settings = settings or ProviderSettings()
    if isinstance(model, str):
        name, _, argument = model.partition(":")
        return _provider(name, model)(argument, seed=seed, settings=settings)
    from evolve.llm.ensemble import EnsembleLLM

    return EnsembleLLM([(make_llm(m.model, seed=seed, settings=settings), m.weight) for m in model])


def provider_names() -> list[str]:
    """All providers, sorted. Imports every provider's SDK."""
    return sorted(name for name in _module_names() if _create_of(name) is not None)


def _provider(name: str, model: str) -> Provider:
    create = _create_of(name) if name in _module_names() else None
    if create is None:
        names = provider_names()
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else f"providers: {', '.join(names)}"
        raise UnknownModelError(f"no LLM provider {name!r} (in {model!r}); {hint}")
    return create


def _module_names() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(evolve.llm.__path__)]


def _create_of(name: str) -> Provider | None:
    module = importlib.import_module(f"evolve.llm.{name}")
    create: Provider | None = getattr(module, "create", None)
    return create
