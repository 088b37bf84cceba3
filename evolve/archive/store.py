"""Everything durable of one run, behind one door: islands, budget, completions, payoffs, checkpoints.

Two implementations pass one conformance suite: ``evolve.archive.memory`` and ``evolve.archive.redis``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from evolve.archive.aside import Aside
from evolve.archive.core import Archive, ArchiveSettings
from evolve.llm.bandit import Arms
from evolve.llm.budget import Budget, Ledger, usage_of
from evolve.llm.core import Completion, Prompt
from evolve.llm.pacing import Buckets
from evolve.scoring import OpponentReturn

EVENTS_PAGE = 512

Record = Mapping[str, object]
"""A checkpoint: string keys, values that msgpack can carry."""


class CompletionStore(Protocol):
    """Every completion a run paid for, by its request key. A completion is stored before it is used."""

    def get(self, key: str) -> Completion | None: ...

    def put(self, key: str, prompt: Prompt, completion: Completion) -> Completion:
        """Keeps the first completion of a key, and returns it; a second one changes nothing."""
        ...

    def items(self) -> Iterator[tuple[str, Prompt, Completion]]:
        """All of them, in the order in which they were stored."""
        ...


class PayoffCache(Protocol):
    """Returns of (program, opponent, seed block): facts that outlive every meta-strategy."""

    def get(self, program_id: str, opponent_id: str, block: str) -> OpponentReturn | None: ...

    def put(self, program_id: str, opponent_id: str, block: str, value: OpponentReturn) -> None: ...


class Store(Protocol):
    """The durable state of one run. Safe for many processes; reopened by run id."""

    run_id: str

    @property
    def aside(self) -> Aside:
        """How to call this store from an event loop that has other work."""
        ...

    def archive(self, task_id: str, settings: ArchiveSettings) -> Archive:
        """The archive of a task, made on first use. The settings of the first call stay in force."""
        ...

    def ledger(self, budget: Budget) -> Ledger: ...

    @property
    def completions(self) -> CompletionStore: ...

    @property
    def payoffs(self) -> PayoffCache: ...

    @property
    def arms(self) -> Arms: ...

    @property
    def buckets(self) -> Buckets:
        """Rates of models: shared with the other runs of the same server."""
        ...

    def now_s(self) -> float:
        """By the store's own clock, in seconds since 1970: the one clock that all of a run's machines share."""
        ...

    def save(self, name: str, record: Record) -> None:
        """Writes a named checkpoint atomically."""
        ...

    def load(self, name: str) -> Record | None: ...

    def log(self, event: Record) -> None:
        """Appends to the run's event log."""
        ...

    def events(self, start: int = 0, count: int | None = None) -> list[Record]:
        """The event log from position ``start``, oldest first: all that follow, or ``count`` of them."""
        ...


def each_event(store: Store) -> Iterator[Record]:
    """The event log, oldest first, a page at a time: a long run's log is larger than all else in its driver."""
    start = 0
    while page := store.events(start, EVENTS_PAGE):
        yield from page
        start += len(page)


def settle_stored(ledger: Ledger, completions: CompletionStore) -> list[str]:
    """Settles every reservation whose completion is stored: what a process killed between the two left undone.

    Returns the keys that stay reserved, calls under way or lost; whoever knows that no process makes them
    any more may ``release`` them."""
    open_keys = []
    for key in ledger.reserved():
        completion = completions.get(key)
        if completion is None:
            open_keys.append(key)
        else:
            ledger.settle(key, usage_of(completion))
    return open_keys
