"""The store of a run in this process's memory: for tests and quick runs that need not survive it.

The same state machine as ``evolve.archive.redis``; records pass through the same codec, so that both hand out the same
values.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from evolve.archive import codec
from evolve.archive.aside import Aside, at_once
from evolve.archive.core import Archive, ArchiveSettings
from evolve.archive.memory_archive import MemoryArchive
from evolve.archive.store import Record
from evolve.llm.bandit import MemoryArms
from evolve.llm.budget import Account, Budget, MemoryLedger
from evolve.llm.core import Completion, Prompt
from evolve.llm.pacing import MemoryBuckets
from evolve.scoring import OpponentReturn


class MemoryCompletions:
    """Completions in the order of their first recording."""

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}

    def get(self, key: str) -> Completion | None:
        record = self._records.get(key)
        return None if record is None else codec.decode_completion(key, record)[1]

    def put(self, key: str, prompt: Prompt, completion: Completion) -> Completion:
        kept = self._records.setdefault(key, codec.encode_completion(prompt, completion))
        return codec.decode_completion(key, kept)[1]

    def items(self) -> Iterator[tuple[str, Prompt, Completion]]:
        for key, record in list(self._records.items()):
            yield key, *codec.decode_completion(key, record)


class MemoryPayoffs:
    """Payoffs by (program, opponent, block)."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, str], OpponentReturn] = {}

    def get(self, program_id: str, opponent_id: str, block: str) -> OpponentReturn | None:
        return self._values.get((program_id, opponent_id, block))

    def put(self, program_id: str, opponent_id: str, block: str, value: OpponentReturn) -> None:
        self._values[program_id, opponent_id, block] = value


class MemoryStore:
    """The :class:`evolve.archive.store.Store` of one run, gone with this process."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._lock = threading.Lock()
        self._archives: dict[str, MemoryArchive] = {}
        self._account = Account()
        self._completions = MemoryCompletions()
        self._payoffs = MemoryPayoffs()
        self.arms = MemoryArms()
        self.buckets = MemoryBuckets()
        self._checkpoints: dict[str, bytes] = {}
        self._events: list[bytes] = []
        self.aside: Aside = at_once

    def archive(self, task_id: str, settings: ArchiveSettings) -> Archive:
        with self._lock:
            return self._archives.setdefault(task_id, MemoryArchive(settings, self.log))

    def ledger(self, budget: Budget) -> MemoryLedger:
        return MemoryLedger(budget, self._account)

    @property
    def completions(self) -> MemoryCompletions:
        return self._completions

    @property
    def payoffs(self) -> MemoryPayoffs:
        return self._payoffs

    def now_s(self) -> float:
        return time.time()

    def save(self, name: str, record: Record) -> None:
        self._checkpoints[name] = codec.encode_record(record)

    def load(self, name: str) -> Record | None:
        record = self._checkpoints.get(name)
        return None if record is None else codec.decode_record(name, record)

    def log(self, event: Record) -> None:
        self._events.append(codec.encode_record(event))

    def events(self, start: int = 0, count: int | None = None) -> list[Record]:
        end = None if count is None else start + count
        return [codec.decode_record("events", record) for record in self._events[start:end]]
