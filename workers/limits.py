"""What ends a run before its last iteration: a budget that is spent, or the run's time that is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import cast

from evolve.archive.store import Store
from evolve.llm.budget import Budget, Usage


class WallClock:
    """The run's own seconds over all its resumes, kept in the store."""

    def __init__(self, store: Store, budget: Budget) -> None:
        self._store = store
        self._limit_s = budget.wall_s
        record: Mapping[str, object] = store.load("wall") or {"wall_s": 0.0}
        self._before_s = cast(float, record["wall_s"])
        self._started_s = time.monotonic()

    @property
    def wall_s(self) -> float:
        return self._before_s + time.monotonic() - self._started_s

    def check(self, drain: Callable[[], None]) -> None:
        """Saves the time spent; past the limit calls ``drain``."""
        self._store.save("wall", {"wall_s": self.wall_s})
        if self.exhausted():
            drain()

    def exhausted(self) -> str | None:
        if self._limit_s is None or self.wall_s < self._limit_s:
            return None
        return f"budget.wall_s={self._limit_s:g} is spent"


def exhausted(spent: Usage, budget: Budget) -> str | None:
    """Which limit of the LLM budget is reached, in words; ``None`` if none is."""
    amounts = {
        "llm_calls": spent.llm_calls,
        "tokens": spent.tokens_in + spent.tokens_out,
        "usd": spent.usd,
    }
    for name, amount in amounts.items():
        limit = getattr(budget, name)
        if limit is not None and amount >= limit:
            return f"budget.{name}={limit:g} is spent"
    return None
