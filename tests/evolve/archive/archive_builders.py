"""Candidates to fill an archive with, and a worker process that many-process tests start by this file's path."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from evolve.archive.core import Archive, ArchiveSettings, Commit, Ticket
from evolve.archive.redis import RedisStore, open_store
from evolve.candidate import Candidate
from evolve.llm.budget import Budget, Usage
from evolve.llm.core import Completion, Prompt
from evolve.program import Program
from evolve.scoring import Failed, OpponentReturn, Scored

HALVES = [0.5] * 32


def scored(name: str, score: float, *, padding: int = 0, opponent: float | None = None) -> Candidate:
    """A candidate whose program is named after ``name``; ``padding`` lengthens its source."""
    by_opponent = {"rock": OpponentReturn(score if opponent is None else opponent, 0.1, 8)}
    return Candidate(Program(f"def {name}(): return '{'x' * padding}'"), Scored(score, 0.1, by_opponent))


def failed(name: str, fault: str = "timeout") -> Candidate:
    return Candidate(Program(f"def {name}(): loop()"), Failed("match", fault, "Traceback: line 1"), ("p",), "edit", "k")


def claimed(archive: Archive, worker: str = "w") -> Ticket:
    ticket = archive.claim(worker)
    assert ticket is not None
    return ticket


def reclaimed(archive: Archive) -> Ticket:
    """By another worker, once all leases have run out."""
    archive.expire_leases()
    return claimed(archive, "heir")


def made(archive: Archive, child: Candidate) -> Commit:
    """One whole proposal: claim, sample, commit."""
    ticket = claimed(archive)
    archive.sample_parents(ticket, HALVES)
    return archive.commit(ticket, child, HALVES)


PROMPT = Prompt("system", "user")


def completion(text: str) -> Completion:
    return Completion(text, "offline:ast", 3, 5, 0.000002, 0.1)


def work(store: RedisStore, worker: str, settings: ArchiveSettings, acknowledged: Path) -> None:
    """Makes proposals until none is left: budget reserved, completion stored, charged, child committed, noted down."""
    archive, ledger = store.archive("task", settings), store.ledger(Budget(llm_calls=settings.proposals))
    with acknowledged.open("a") as notes:
        while not archive.progress().done:
            ticket = archive.claim(worker)
            if ticket is None:
                time.sleep(0.05)
                continue
            key = f"request-{ticket.index}"
            ledger.reserve([(key, Usage(1, 10, 10, 0.5))])
            archive.sample_parents(ticket, HALVES)
            store.completions.put(key, PROMPT, completion(worker))
            ledger.settle(key, Usage(1, 3, 5, 0.000002))
            child = failed(f"f{ticket.index}") if ticket.index % 5 == 0 else scored(f"f{ticket.index}", ticket.index)
            outcome = archive.commit(ticket, child, HALVES)
            notes.write(f"{ticket.index} {ticket.attempt} {outcome}\n")
            notes.flush()


def main(data_dir: str, run_id: str, worker: str, proposals: str, lease_s: str, acknowledged: str) -> None:
    settings = ArchiveSettings(
        proposals=int(proposals), lease_s=float(lease_s), migration_interval=20, reset_interval=0
    )
    work(open_store(run_id, Path(data_dir)), worker, settings, Path(acknowledged))


if __name__ == "__main__":
    main(*sys.argv[1:])
