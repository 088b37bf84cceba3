"""What a call costs, by the dated list in ``prices.toml``."""

from __future__ import annotations

import difflib
import logging
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

_LOG = logging.getLogger(__name__)
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{3})$")


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    input: float
    output: float

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


def price_of(model: str) -> Price | None:
    """Price of ``provider:model``; a dated snapshot (``gpt-4.1-2025-04-14``) costs what its model does.

    ``None`` for a model that is not listed, after one warning in this process."""
    if model == "offline":
        return Price(0.0, 0.0)
    prices = _prices()
    found = prices.get(model) or prices.get(_SNAPSHOT.sub("", model))
    if found is None:
        _warn_unpriced(model)
    return found


def known_models(provider: str) -> list[str]:
    """Names of the provider's listed models, without its prefix."""
    prefix = f"{provider}:"
    return [name.removeprefix(prefix) for name in _prices() if name.startswith(prefix)]


def near_models(provider: str, model: str) -> str:
    """``; did you mean A or B?``, from the provider's listed models; empty if ``model`` is one or resembles none."""
    known = known_models(provider)
    near = [] if model in known else difflib.get_close_matches(model, known, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


@cache
def _prices() -> dict[str, Price]:
    document = tomllib.loads(resources.files("evolve.llm").joinpath("prices.toml").read_text("utf-8"))
    return {
        f"{provider}:{model}": Price(**price)
        for provider, models in document.items()
        if isinstance(models, dict)
        for model, price in models.items()
    }


@cache
def _warn_unpriced(model: str) -> None:
    _LOG.warning("no price is known for %s: its tokens are counted, its cost is not (prices.toml)", model)
