"""One budget for all processes: reserve before a call, settle after it.

The limits and the rules are here; :class:`MemoryLedger` keeps the account in this process,
``evolve.archive.redis`` keeps it for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Budget:
    """What a run may spend; ``None`` is no limit. ``wall_s`` counts the run's own seconds over all its resumes."""

    llm_calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    wall_s: float | None = None


@dataclass(frozen=True)
class Usage:
    """What was spent, or is reserved. ``usd`` of models without a known price counts as 0, and ``unpriced_calls`` says how many."""

    llm_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    unpriced_calls: int = 0


class Ledger(Protocol):
    """The account. Atomic for many processes; each key is charged at most once, however often it is settled."""

    def reserve(self, key: str, estimate: Usage) -> None:
        """Sets ``estimate`` aside for request ``key``; the same key again changes nothing.

        Raises :class:`BudgetExhaustedError` if spent + reserved + estimate would pass a limit."""
        ...

    def settle(self, key: str, actual: Usage) -> None:
        """Replaces the reservation of ``key`` by what the call cost. Idempotent."""
        ...

    def release(self, key: str) -> None:
        """Gives back the reservation of a call that was never answered."""
        ...

    def spent(self) -> Usage: ...
