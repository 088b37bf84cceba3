"""The store of a run in this process's memory: for tests and quick runs that need not survive it.

The same state machine as ``evolve.archive.redis``, under one lock instead of in Lua scripts; records pass
through the same codec, so that both hand out the same values.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evolve.archive import codec
from evolve.archive.core import Archive, ArchiveSettings, Commit, IslandStatus, Parents, Progress, Ticket
from evolve.archive.island import Entry, Island, arrange, check_uniforms, entry, founding, migrate, reset_weaker_half
from evolve.archive.store import Record
from evolve.candidate import Candidate, IslandRef
from evolve.llm.bandit import MemoryArms
from evolve.llm.budget import Account, Budget, MemoryLedger
from evolve.llm.core import Completion, Prompt
from evolve.llm.pacing import MemoryBuckets
from evolve.program import Program
from evolve.scoring import Failed, OpponentReturn, Scored


@dataclass
class _Proposal:
    """A proposal handed out: its latest lease, the parents drawn for it (with their island's epoch), its outcome."""

    attempt: int
    epoch: int
    lease_end_s: float
    drawn: tuple[str, ...] = ()
    outcome: Commit | None = None


class MemoryArchive:
    """One task's archive. Every method takes the lock, so any thread may call it."""

    def __init__(self, settings: ArchiveSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._programs: dict[str, Candidate] = {}
        self._ranking: list[Entry] = []
        self._islands: list[Island] = []
        self._proposals: list[_Proposal] = []
        self._operations: list[tuple[str, int]] = []
        self._outcomes: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()

    @property
    def settings(self) -> ArchiveSettings:
        return self._settings

    def found(self, founders: Sequence[Candidate]) -> None:
        distinct, entries = founding(founders, self._settings.return_scale)
        with self._lock:
            if self._islands:
                return
            self._programs.update(distinct)
            self._ranking = sorted(entries)
            self._islands = [Island() for _ in range(self._settings.num_islands)]
            for island in self._islands:
                for each in entries:
                    island.register(each)

    def claim(self, worker: str, now_s: float) -> Ticket | None:
        with self._lock:
            if not self._islands:
                raise ValueError("the archive has no founders yet: call found() before claim()")
            expired = [
                (proposal.lease_end_s, index)
                for index, proposal in enumerate(self._proposals)
                if proposal.outcome is None and proposal.lease_end_s < now_s
            ]
            if expired:
                index = min(expired)[1]
                proposal = self._proposals[index]
                proposal.attempt += 1
            elif len(self._proposals) < self._settings.proposals:
                index = len(self._proposals)
                proposal = _Proposal(1, 0, 0.0)
                self._proposals.append(proposal)
            else:
                return None
            island = index % self._settings.num_islands
            if not proposal.drawn:
                proposal.epoch = self._islands[island].epoch
            proposal.lease_end_s = now_s + self._settings.lease_s
            return Ticket(index, proposal.attempt, IslandRef(island, self._islands[island].epoch))

    def sample_parents(self, ticket: Ticket, uniforms: Sequence[float]) -> Parents:
        settings = self._settings
        check_uniforms(uniforms, 2 * (settings.num_parents + settings.num_inspirations))
        with self._lock:
            proposal = self._proposal(ticket)
            island = self._islands[ticket.island.index]
            if proposal.outcome is None and not (proposal.drawn and proposal.epoch == island.epoch):
                proposal.drawn = tuple(island.draw(settings, uniforms))
                proposal.epoch = island.epoch
                self._operations.append(("sample", ticket.index))
            if not proposal.drawn:
                raise ValueError(f"proposal {ticket.index} was committed without parents: there are none to hand out")
            drawn = [self._programs[program_id] for program_id in proposal.drawn]
        return arrange(drawn, settings.num_parents)

    def renew(self, ticket: Ticket, now_s: float) -> bool:
        with self._lock:
            proposal = self._proposal(ticket)
            holder = proposal.outcome is None and proposal.attempt == ticket.attempt
            if holder:
                proposal.lease_end_s = now_s + self._settings.lease_s
            return holder

    def holds(self, program: Program) -> bool:
        with self._lock:
            return program.id in self._programs

    def commit(self, ticket: Ticket, child: Candidate, uniforms: Sequence[float]) -> Commit:
        check_uniforms(uniforms, self._settings.num_islands)
        known = entry(child, self._settings.return_scale) if isinstance(child.evaluation, Scored) else None
        with self._lock:
            proposal = self._proposal(ticket)
            if proposal.attempt != ticket.attempt:
                return Commit.STALE_LEASE
            if proposal.outcome is None:
                proposal.outcome = self._take_in(proposal, ticket.island.index, child, known)
                self._outcomes[proposal.outcome] += 1
                self._operations.append(("commit", ticket.index))
                self._after_commit(uniforms)
            return proposal.outcome

    def _take_in(self, proposal: _Proposal, index: int, child: Candidate, known: Entry | None) -> Commit:
        if child.program.id in self._programs:
            return Commit.DUPLICATE
        self._programs[child.program.id] = child
        if known is None:
            assert isinstance(child.evaluation, Failed)
            self._failures[child.evaluation.fault] += 1
            return Commit.FAILED
        insort(self._ranking, known)
        if proposal.epoch != self._islands[index].epoch:
            return Commit.STALE_ISLAND
        self._islands[index].register(known)
        return Commit.ADDED

    def _after_commit(self, uniforms: Sequence[float]) -> None:
        settings, committed = self._settings, self._outcomes.total()
        # Reset first: after a migration the weak islands would be judged by their neighbours' programs.
        if settings.reset_interval and committed % settings.reset_interval == 0:
            reset_weaker_half(self._islands, uniforms)
        if settings.migration_interval and committed % settings.migration_interval == 0:
            migrate(self._islands, settings.migrants)

    def best(self, count: int) -> list[Candidate]:
        with self._lock:
            return [self._programs[each.id] for each in self._ranking[:count]]

    def candidate(self, program_id: str) -> Candidate | None:
        with self._lock:
            return self._programs.get(program_id)

    def progress(self) -> Progress:
        with self._lock:
            statuses = [
                IslandStatus(IslandRef(index, island.epoch), island.ranking[0].score, island.mean, len(island.ranking))
                for index, island in enumerate(self._islands)
            ] or [IslandStatus(IslandRef(index, 0), None, None, 0) for index in range(self._settings.num_islands)]
            return Progress(
                proposals=self._settings.proposals,
                handed_out=len(self._proposals),
                committed=self._outcomes.total(),
                outcomes={str(outcome): count for outcome, count in self._outcomes.items()},
                failures=dict(self._failures),
                islands=tuple(statuses),
            )

    def operations(self) -> list[tuple[str, int]]:
        with self._lock:
            return list(self._operations)

    def _proposal(self, ticket: Ticket) -> _Proposal:
        if not 0 <= ticket.index < len(self._proposals):
            raise ValueError(f"proposal {ticket.index} was never handed out by this archive")
        return self._proposals[ticket.index]


class MemoryCompletions:
    """Completions in the order of their first recording."""

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}

    def get(self, key: str) -> Completion | None:
        record = self._records.get(key)
        return None if record is None else codec.decode_completion(key, record)[1]

    def put(self, key: str, prompt: Prompt, completion: Completion) -> None:
        self._records.setdefault(key, codec.encode_completion(prompt, completion))

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

    def archive(self, task_id: str, settings: ArchiveSettings) -> Archive:
        with self._lock:
            return self._archives.setdefault(task_id, MemoryArchive(settings))

    def ledger(self, budget: Budget) -> MemoryLedger:
        return MemoryLedger(budget, self._account)

    @property
    def completions(self) -> MemoryCompletions:
        return self._completions

    @property
    def payoffs(self) -> MemoryPayoffs:
        return self._payoffs

    def save(self, name: str, record: Record) -> None:
        self._checkpoints[name] = codec.encode_record(record)

    def load(self, name: str) -> Record | None:
        record = self._checkpoints.get(name)
        return None if record is None else codec.decode_record(name, record)

    def log(self, event: Record) -> None:
        self._events.append(codec.encode_record(event))

    def events(self, start: int = 0) -> list[Record]:
        return [codec.decode_record("events", record) for record in self._events[start:]]
