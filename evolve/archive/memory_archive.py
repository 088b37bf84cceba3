"""A task's archive in this process's memory: the same state machine as the Lua scripts, under one lock."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evolve.archive.core import NO_FINDINGS, ArchiveSettings, Commit, EventOf, Findings, Parents, Ticket
from evolve.archive.island import Entry, Island, entry, founding
from evolve.archive.progress import Effort, IslandStatus, Progress, Yield
from evolve.archive.sampling import (
    Board,
    Draw,
    check_uniforms,
    draw,
    is_specialist,
    is_stagnant,
    reference,
    resolve,
    uniforms_needed,
)
from evolve.archive.store import Record
from evolve.archive.upkeep import migrate, reseed, reset_weaker_half
from evolve.candidate import Candidate, IslandRef
from evolve.scoring import Failed, Scored

KEPT_FAILURES = 16
"""An island remembers this many programs to repair, the latest."""


@dataclass
class _Proposal:
    """A proposal handed out: its latest lease, what was drawn for it (with its island's epoch), its outcome."""

    attempt: int
    epoch: int
    lease_end_s: float
    drawn: Draw | None = None
    outcome: Commit | None = None


class MemoryArchive:
    """One task's archive. Every method takes the lock, so any thread may call it."""

    def __init__(self, settings: ArchiveSettings, log: Callable[[Record], None]) -> None:
        self._settings = settings
        self._log = log
        self._lock = threading.Lock()
        self._programs: dict[str, Candidate] = {}
        self._revisions: Counter[str] = Counter()
        self._revised: dict[str, list[int]] = {}
        self._arrivals: dict[str, tuple[int, str]] = {}
        self._champions: dict[str, tuple[float, str]] = {}
        self._notes: list[list[str]] = [[""] for _ in range(settings.num_islands)]
        self._ranking: list[Entry] = []
        self._islands: list[Island] = []
        self._proposals: list[_Proposal] = []
        self._operations: list[tuple[str, int]] = []
        self._outcomes: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._operators: dict[str, Yield] = {}
        self._variants: dict[str, Yield] = {}
        self._effort: Counter[str] = Counter()
        self._upkeep: Counter[str] = Counter()
        self._reseeded = 0

    @property
    def settings(self) -> ArchiveSettings:
        return self._settings

    def found(self, founders: Sequence[Candidate]) -> None:
        distinct, entries = founding(founders, self._settings)
        with self._lock:
            if self._islands:
                return
            self._programs.update(distinct)
            for founder in distinct.values():
                for name in (founder.program.id, founder.behaviour):
                    self._arrivals.setdefault(name, (-1, founder.program.id))
                self._challenge(founder)
            self._ranking = sorted(entries)
            self._islands = [Island(self._settings.selection) for _ in range(self._settings.num_islands)]
            for island in self._islands:
                for each in entries:
                    island.register(each)

    def claim(self, worker: str) -> Ticket | None:
        now_s = time.monotonic()
        with self._lock:
            if not self._islands:
                raise ValueError("the archive has no founders yet: call found() before claim()")
            open_ones = ((i, proposal) for i, proposal in enumerate(self._proposals) if proposal.outcome is None)
            expired = next(((i, proposal) for i, proposal in open_ones if proposal.lease_end_s <= now_s), None)
            if expired is not None:
                index, proposal = expired
                proposal.attempt += 1
            elif len(self._proposals) < self._settings.proposals:
                index = len(self._proposals)
                proposal = _Proposal(1, 0, 0.0)
                self._proposals.append(proposal)
            else:
                return None
            island = index % self._settings.num_islands
            if proposal.drawn is None:
                proposal.epoch = self._islands[island].epoch
            proposal.lease_end_s = now_s + self._settings.lease_s
            return Ticket(index, proposal.attempt, IslandRef(island, self._islands[island].epoch))

    def sample_parents(self, ticket: Ticket, uniforms: Sequence[float]) -> Parents:
        settings = self._settings
        check_uniforms(uniforms, uniforms_needed(settings))
        with self._lock:
            proposal = self._proposal(ticket)
            index, island = ticket.island.index, self._islands[ticket.island.index]
            if proposal.outcome is None and not (proposal.drawn and proposal.epoch == island.epoch):
                notes = len(self._notes[index]) - 1
                board = Board(self._outcomes.total(), self._variants, self._champions, notes, self._revisions)
                stagnant = is_stagnant(settings, island.stalled)
                proposal.drawn = draw(island, settings, ticket.index // settings.num_islands, uniforms, board)
                proposal.epoch = island.epoch
                self._upkeep["explored"] += stagnant
                self._upkeep["specialists"] += is_specialist(settings, proposal.drawn.operator, board, uniforms)
                self._operations.append(("sample", ticket.index))
            if proposal.drawn is None:
                raise ValueError(f"proposal {ticket.index} was committed without parents: there are none to hand out")
            return resolve(proposal.drawn, self._notes[index][proposal.drawn.notes], self._programs)

    def renew(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        with self._lock:
            lost = []
            for ticket in tickets:
                proposal = self._proposal(ticket)
                if proposal.outcome is None and proposal.attempt == ticket.attempt:
                    proposal.lease_end_s = time.monotonic() + self._settings.lease_s
                else:
                    lost.append(ticket)
            return lost

    def expire_leases(self) -> None:
        with self._lock:
            for proposal in self._proposals:
                proposal.lease_end_s = 0.0

    def seen(self, name: str, as_of: int) -> Candidate | None:
        with self._lock:
            before, program_id = self._arrivals.get(name, (as_of, ""))
            if not name or before >= as_of:
                return None
            revision = sum(moment < as_of for moment in self._revised.get(program_id, ()))
            return self._programs[reference(program_id, revision)]

    def commit(
        self,
        ticket: Ticket,
        child: Candidate,
        uniforms: Sequence[float],
        findings: Findings = NO_FINDINGS,
        event: EventOf | None = None,
    ) -> Commit:
        check_uniforms(uniforms, 2 * self._settings.num_islands)
        known = entry(child, self._settings) if isinstance(child.evaluation, Scored) else None
        with self._lock:
            proposal = self._proposal(ticket)
            if proposal.attempt != ticket.attempt:
                return Commit.STALE_LEASE
            if proposal.outcome is None:
                proposal.outcome = self._take_in(proposal, ticket.island.index, child, known)
                self._count(proposal, child, findings)
                self._revise(findings)
                if findings.notes:
                    self._notes[ticket.island.index].append(findings.notes)
                self._outcomes[proposal.outcome] += 1
                self._operations.append(("commit", ticket.index))
                if event is not None:
                    self._log(event(proposal.outcome))
                self._after_commit(ticket.island.index, uniforms)
            return proposal.outcome

    def _take_in(self, proposal: _Proposal, index: int, child: Candidate, known: Entry | None) -> Commit:
        island = self._islands[index]
        on_time = proposal.epoch == island.epoch
        if on_time:
            island.stalled += 1
        if child.program.id in self._programs:
            return Commit.DUPLICATE
        self._programs[child.program.id] = child
        for name in (child.program.id, child.behaviour):
            self._arrivals.setdefault(name, (self._outcomes.total(), child.program.id))
        if on_time and self._settings.notes_interval:
            island.recent.append(child.program.id)
            del island.recent[: -self._settings.notes_interval]
        if known is None:
            assert isinstance(child.evaluation, Failed)
            self._failures[child.evaluation.fault] += 1
            if on_time and child.evaluation.is_repairable:
                island.failures.append(child.program.id)
                del island.failures[:-KEPT_FAILURES]
            return Commit.FAILED
        insort(self._ranking, known)
        self._challenge(child)
        if not on_time:
            return Commit.STALE_ISLAND
        island.register(known)
        return Commit.ADDED

    def _challenge(self, candidate: Candidate) -> None:
        """The program takes the place of those who do worse against an opponent."""
        if isinstance(candidate.evaluation, Scored):
            for opponent, result in candidate.evaluation.by_opponent.items():
                champion = self._champions.get(opponent)
                if champion is None or result.mean > champion[0]:
                    self._champions[opponent] = (result.mean, candidate.program.id)

    def _count(self, proposal: _Proposal, child: Candidate, findings: Findings) -> None:
        scored = isinstance(child.evaluation, Scored)
        variant = proposal.drawn.variant if proposal.drawn else ""
        for yields, kind in ((self._operators, child.operator), (self._variants, variant)):
            if kind:
                old = yields.get(kind, Yield())
                yields[kind] = Yield(old.made + 1, old.scored + scored, old.improved + findings.improved)
        for name in ("played", "saved_by_racing", "saved_by_novelty"):
            self._effort[name] += getattr(findings, name)

    def _revise(self, findings: Findings) -> None:
        """Gives an elite its surer score, unless another re-scoring came first or it was withdrawn."""
        if findings.elite is None or findings.revised is None:
            return
        candidate, revised = findings.elite.candidate, findings.revised
        program_id = candidate.program.id
        old = next((each for each in self._ranking if each.id == program_id), None)
        if old is None or self._revisions[program_id] != findings.elite.revision:
            return
        del self._ranking[bisect_left(self._ranking, old)]
        if isinstance(revised, Scored):
            insort(self._ranking, replace(old, negative_score=-revised.mean_return))
            self._revisions[program_id] += 1
            self._revised.setdefault(program_id, []).append(self._outcomes.total())
            newer = replace(candidate, evaluation=revised)
            self._programs[reference(program_id, self._revisions[program_id])] = newer
        dethroned = False
        for island in self._islands:
            if (held := island.find(program_id)) is not None:
                if isinstance(revised, Scored):
                    dethroned |= island.revise(held, revised.mean_return)
                else:
                    dethroned |= island.withdraw(held)
        for opponent, (_, champion) in list(self._champions.items()):
            if champion == program_id and isinstance(revised, Scored):
                self._champions[opponent] = (revised.by_opponent[opponent].mean, program_id)
            elif champion == program_id:
                del self._champions[opponent]
        self._effort["rescored"] += 1
        self._effort["false_elites"] += dethroned

    def _after_commit(self, index: int, uniforms: Sequence[float]) -> None:
        settings, committed, islands = self._settings, self._outcomes.total(), self._islands
        # Reset first: after a migration the weak islands would be judged by their neighbours' programs.
        if settings.reset_interval and committed % settings.reset_interval == 0:
            self._upkeep["reset"] += reset_weaker_half(islands, uniforms)
        if settings.stagnation_action == "reseed" and 0 < settings.stagnation_limit <= islands[index].stalled:
            self._reseeded += reseed(islands, index, uniforms[index])
        if settings.migration_interval and committed % settings.migration_interval == 0:
            self._upkeep["migrated"] += migrate(islands, settings, uniforms[settings.num_islands :])

    def best(self, count: int, start: int = 0) -> list[Candidate]:
        with self._lock:
            return [self._latest(each.id) for each in self._ranking[start : start + count]]

    def candidate(self, program_id: str) -> Candidate | None:
        with self._lock:
            return self._latest(program_id) if program_id in self._programs else None

    def _latest(self, program_id: str) -> Candidate:
        return self._programs[reference(program_id, self._revisions[program_id])]

    def progress(self) -> Progress:
        with self._lock:
            statuses = [
                IslandStatus(
                    IslandRef(index, island.epoch),
                    island.ranking[0].score,
                    island.mean,
                    len(island.ranking),
                    island.stalled,
                )
                for index, island in enumerate(self._islands)
            ] or [IslandStatus(IslandRef(index, 0), None, None, 0) for index in range(self._settings.num_islands)]
            return Progress(
                proposals=self._settings.proposals,
                handed_out=len(self._proposals),
                committed=self._outcomes.total(),
                outcomes={str(outcome): count for outcome, count in self._outcomes.items()},
                failures=dict(self._failures),
                islands=tuple(statuses),
                operators=dict(self._operators),
                variants=dict(self._variants),
                effort=Effort(**self._effort),
                reseeded=self._reseeded,
                notes=sum(len(notes) - 1 for notes in self._notes),
                upkeep={name: count for name, count in self._upkeep.items() if count},
            )

    def operations(self) -> list[tuple[str, int]]:
        with self._lock:
            return list(self._operations)

    def _proposal(self, ticket: Ticket) -> _Proposal:
        if not 0 <= ticket.index < len(self._proposals):
            raise ValueError(f"proposal {ticket.index} was never handed out by this archive")
        return self._proposals[ticket.index]
