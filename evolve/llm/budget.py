"""One budget for all processes: reserve before a call, settle after it.

The limits and the rules are here; :class:`MemoryLedger` keeps the account in this process,
``evolve.archive.redis`` keeps it for all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from evolve.llm.core import BudgetExhaustedError, Completion

MICRO = 1_000_000
"""Money is kept in whole micro-dollars, so that sums over processes are exact."""


@dataclass(frozen=True)
class Budget:
    """What a run may spend; ``None`` is no limit. ``wall_s`` counts the run's own seconds over all its resumes."""

    llm_calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    wall_s: float | None = None


@dataclass(frozen=True)
class Usage:
    """What was spent, or is reserved. ``usd`` of models without a known price counts as 0, and ``unpriced_calls``
    says how many such calls there were."""

    llm_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    unpriced_calls: int = 0

    def amounts(self) -> tuple[int, int, int, int, int]:
        """The five amounts as whole numbers, ``usd`` in micro-dollars."""
        return self.llm_calls, self.tokens_in, self.tokens_out, round(self.usd * MICRO), self.unpriced_calls

    @staticmethod
    def of_amounts(calls: int, tokens_in: int, tokens_out: int, micro_usd: int, unpriced: int) -> Usage:
        """The inverse of :meth:`amounts`."""
        return Usage(calls, tokens_in, tokens_out, micro_usd / MICRO, unpriced)


def usage_of(completion: Completion) -> Usage:
    """What one call cost."""
    unpriced = completion.usd is None
    return Usage(1, completion.tokens_in, completion.tokens_out, completion.usd or 0.0, int(unpriced))


class Ledger(Protocol):
    """The account. Atomic for many processes; each key is charged at most once, however often it is settled."""

    def reserve(self, requests: Sequence[tuple[str, Usage]]) -> list[bool | BudgetExhaustedError]:
        """Sets the estimate of each (key, estimate) aside, one after the other, and says for each what came of it.

        True if it is set aside; False, and no change, if the key is reserved or settled; the error, and no change, if
        spent + reserved + estimate would pass a limit."""
        ...

    def settle(self, key: str, actual: Usage) -> None:
        """Replaces the reservation of ``key`` by what the call cost. Idempotent."""
        ...

    def release(self, key: str) -> None:
        """Gives back the reservation of a call that was never answered."""
        ...

    def spent(self) -> Usage: ...

    def held(self) -> Usage:
        """The sum of all reservations; ``llm_calls`` is the number of calls under way."""
        ...

    def reserved(self) -> Mapping[str, Usage]:
        """The reservations neither settled nor released, by key: calls under way, or left by a dead process."""
        ...


def limits_of(budget: Budget) -> dict[str, int]:
    """The limits that a ledger enforces, in whole calls, tokens and micro-dollars."""
    micro_usd = None if budget.usd is None else round(budget.usd * MICRO)
    limits = {"llm_calls": budget.llm_calls, "tokens": budget.tokens, "usd": micro_usd}
    return {name: limit for name, limit in limits.items() if limit is not None}


def exhausted(name: str, limit: int, committed: int) -> BudgetExhaustedError:
    """The error of a limit that the next call would pass, ``committed`` being spent or reserved already."""
    unit = MICRO if name == "usd" else 1
    return BudgetExhaustedError(
        f"budget.{name} is used up: {committed / unit:g} of {limit / unit:g} spent or reserved, and the next call "
        "needs more; raise it and resume to go on"
    )


@dataclass
class Account:
    """What a run spent and reserved, in the amounts of :meth:`Usage.amounts`."""

    spent: list[int] = field(default_factory=lambda: [0] * 5)
    reserved: dict[str, tuple[int, ...]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryLedger:
    """The account of one process. Several ledgers, even of different limits, may share one ``account``."""

    def __init__(self, budget: Budget, account: Account | None = None) -> None:
        self._limits = limits_of(budget)
        self._account = account or Account()

    def reserve(self, requests: Sequence[tuple[str, Usage]]) -> list[bool | BudgetExhaustedError]:
        with self._account.lock:
            return [self._reserve(key, estimate.amounts()) for key, estimate in requests]

    def _reserve(self, key: str, amounts: tuple[int, ...]) -> bool | BudgetExhaustedError:
        account = self._account
        if key in account.reserved or key in account.settled:
            return False
        held = [sum(column) for column in zip(account.spent, *account.reserved.values(), strict=True)]
        for name, used, more in (
            ("llm_calls", held[0], amounts[0]),
            ("tokens", held[1] + held[2], amounts[1] + amounts[2]),
            ("usd", held[3], amounts[3]),
        ):
            if name in self._limits and used + more > self._limits[name]:
                return exhausted(name, self._limits[name], used)
        account.reserved[key] = amounts
        return True

    def settle(self, key: str, actual: Usage) -> None:
        account = self._account
        with account.lock:
            account.reserved.pop(key, None)
            if key not in account.settled:
                account.settled.add(key)
                account.spent = [total + more for total, more in zip(account.spent, actual.amounts(), strict=True)]

    def release(self, key: str) -> None:
        with self._account.lock:
            self._account.reserved.pop(key, None)

    def spent(self) -> Usage:
        with self._account.lock:
            return Usage.of_amounts(*self._account.spent)

    def held(self) -> Usage:
        with self._account.lock:
            columns = zip([0] * 5, *self._account.reserved.values(), strict=True)
            return Usage.of_amounts(*map(sum, columns))

    def reserved(self) -> Mapping[str, Usage]:
        with self._account.lock:
            return {key: Usage.of_amounts(*amounts) for key, amounts in self._account.reserved.items()}
