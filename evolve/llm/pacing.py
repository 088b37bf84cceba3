"""One pace for all processes: requests and tokens per minute, taken before a call and corrected after it.

Token buckets hold a second's worth of each limit, so in any minute a model is asked at most its limit and that second's
worth. A store keeps the buckets; they belong to the model and not to the run, so runs on one Redis share them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from evolve.llm.loops import PerLoop

_TOLERANCE_S = 1e-6
_LONGEST_NAP_S = 5.0
"""Answers that cost less than was taken for them give the rest back, so a long wait is worth another look."""


@dataclass(frozen=True)
class Rates:
    """What a provider lets each model be asked; ``None`` is no limit."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


@dataclass(frozen=True)
class Bucket:
    """Fills at ``per_s`` up to ``capacity``. ``name`` is its place in the store."""

    name: str
    capacity: float
    per_s: float


class Buckets(Protocol):
    """The levels of all buckets, shared by all who open the store. Atomic. A bucket never touched is full."""

    def take(self, amounts: Sequence[tuple[Bucket, float]]) -> float:
        """Takes every amount and returns 0, or takes none and returns the seconds until they may be there.

        An amount beyond the capacity is taken from a full bucket, which is then in debt."""
        ...

    def give(self, bucket: Bucket, amount: float) -> None:
        """Puts ``amount`` back, up to the capacity; a negative one is taken, whatever the level."""
        ...


class MemoryBuckets:
    """The buckets of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._levels: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, amounts: Sequence[tuple[Bucket, float]]) -> float:
        with self._lock:
            levels = [self._level(bucket) for bucket, _ in amounts]
            waits = [
                (min(amount, bucket.capacity) - level) / bucket.per_s
                for (bucket, amount), level in zip(amounts, levels, strict=True)
            ]
            wait_s = max(waits, default=0.0)
            if wait_s > _TOLERANCE_S:
                return wait_s
            for (bucket, amount), level in zip(amounts, levels, strict=True):
                self._levels[bucket.name] = (level - amount, self._clock())
            return 0.0

    def give(self, bucket: Bucket, amount: float) -> None:
        with self._lock:
            self._levels[bucket.name] = (min(bucket.capacity, self._level(bucket) + amount), self._clock())

    def _level(self, bucket: Bucket) -> float:
        level, at_s = self._levels.get(bucket.name, (bucket.capacity, self._clock()))
        return min(bucket.capacity, level + (self._clock() - at_s) * bucket.per_s)


class Pacer:
    """Lets a model's requests through at its rates. Of the callers in one process only the first in line looks."""

    def __init__(self, rates: Rates, buckets: Buckets) -> None:
        self._rates = rates
        self._buckets = buckets
        self._lines = PerLoop(lambda: defaultdict[str, asyncio.Lock](asyncio.Lock))
        self._mean_out: dict[str, float] = {}

    async def enter(self, model: str, tokens_in: int, most_out: int) -> float:
        """Waits for the model's turn. Returns the tokens taken for the call: ``tokens_in`` and what its answers came
        to so far on average, at first the most that may come. To be handed to :meth:`leave`."""
        tokens = tokens_in + self._mean_out.get(model, float(most_out))
        amounts = self._amounts(model, tokens)
        async with self._lines.get()[model]:
            while (wait_s := self._buckets.take(amounts)) > 0:
                await asyncio.sleep(min(wait_s, _LONGEST_NAP_S))
        return tokens

    def leave(self, model: str, taken: float, tokens_in: int, tokens_out: int) -> None:
        """Corrects what :meth:`enter` took by what the call cost (nothing, if it brought no answer)."""
        if tokens_out:
            before = self._mean_out.get(model, float(tokens_out))
            self._mean_out[model] = 0.9 * before + 0.1 * tokens_out
        if self._rates.tokens_per_minute is not None:
            self._buckets.give(_bucket(model, "tokens", self._rates.tokens_per_minute), taken - tokens_in - tokens_out)

    def _amounts(self, model: str, tokens: float) -> list[tuple[Bucket, float]]:
        wanted = (("requests", self._rates.requests_per_minute, 1.0), ("tokens", self._rates.tokens_per_minute, tokens))
        return [(_bucket(model, kind, limit), amount) for kind, limit, amount in wanted if limit is not None]


def _bucket(model: str, kind: str, per_minute: float) -> Bucket:
    return Bucket(f"{model}:{kind}", max(1.0, per_minute / 60), per_minute / 60)
