"""The island archive of one best-response task: what every implementation promises.

One archive belongs to one task (one PSRO iteration of one run). It holds the islands, hands out the
proposals that are still to be made, and takes their results exactly once. Every method is atomic and
safe for many processes; every answer depends only on the archive's state and the arguments, never on
a clock or a random generator of its own (time and uniform random numbers are passed in), so that the
recorded order of operations replays to the same archive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from evolve.candidate import Candidate, IslandRef
from evolve.program import Program


@dataclass(frozen=True)
class ArchiveSettings:
    """Shape of the search.

    ``proposals`` is the number of children to propose in all. Clusters are sampled by a softmax over
    their scores, normalised by ``return_scale`` (the game's return span), whose temperature falls
    linearly from ``temperature`` to 0 over ``temperature_period`` programs of an island and starts
    again (FunSearch, Methods). Within a cluster shorter programs are likelier:
    softmax of -length / ``length_temperature``, lengths normalised within the cluster. ``migration_interval``
    and ``reset_interval`` count committed children of the whole archive; 0 turns them off. A reset
    empties the weaker half of the islands and refounds each with the best of a surviving island; a
    migration copies each island's best ``migrants`` to the next island of the ring. Raises
    ``ValueError`` on a value no archive can work with.
    """

    num_islands: int = 4
    proposals: int = 200
    temperature: float = 0.1
    temperature_period: int = 200
    length_temperature: float = 1.0
    return_scale: float = 1.0
    num_parents: int = 1
    num_inspirations: int = 2
    migration_interval: int = 40
    migrants: int = 1
    reset_interval: int = 120
    lease_s: float = 15.0

    def __post_init__(self) -> None:
        at_least_one = ("num_islands", "temperature_period", "num_parents")
        at_least_zero = ("proposals", "num_inspirations", "migration_interval", "migrants", "reset_interval")
        positive = ("temperature", "length_temperature", "return_scale", "lease_s")
        for names, low in ((at_least_one, 1), (at_least_zero, 0)):
            for name in names:
                if getattr(self, name) < low:
                    raise ValueError(f"archive setting {name} must be at least {low}, not {getattr(self, name)}")
        for name in positive:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"archive setting {name} must be positive and finite, not {getattr(self, name)}")


@dataclass(frozen=True)
class Ticket:
    """The right and duty to make proposal number ``index`` of a task, until its lease ends.

    ``attempt`` counts leases of the same proposal; a commit by an earlier holder is refused.
    """

    index: int
    attempt: int
    island: IslandRef


@dataclass(frozen=True)
class Parents:
    """Drawn from one island: parents best first, and inspirations (other good programs, distinct from them)."""

    parents: tuple[Candidate, ...]
    inspirations: tuple[Candidate, ...]


class Commit(StrEnum):
    """What became of a child."""

    ADDED = "added"
    FAILED = "failed"  # recorded with its fault, in no cluster
    DUPLICATE = "duplicate"  # normalised source already in the archive
    STALE_ISLAND = "stale_island"  # its island was reset after its parents were drawn: recorded, on no island
    STALE_LEASE = "stale_lease"  # another holder has or had this proposal: nothing was changed


@dataclass(frozen=True)
class IslandStatus:
    """For watching: best and mean score of the programs on an island, and how many there are."""

    ref: IslandRef
    best: float | None
    mean: float | None
    programs: int


@dataclass(frozen=True)
class Progress:
    """Counters of the task. ``done`` when every proposal is committed."""

    proposals: int
    handed_out: int
    committed: int
    outcomes: Mapping[str, int]
    failures: Mapping[str, int]
    islands: tuple[IslandStatus, ...]

    @property
    def done(self) -> bool:
        return self.committed >= self.proposals


class Archive(Protocol):
    """Islands of scored programs, and the proposals in flight."""

    @property
    def settings(self) -> ArchiveSettings: ...

    def found(self, founders: Sequence[Candidate]) -> None:
        """Starts every island from all scored ``founders``; failed ones are recorded. The second call on an
        archive changes nothing. Must come before the first claim.

        Raises ``ValueError`` if none of them is scored."""
        ...

    def claim(self, worker: str, now_s: float) -> Ticket | None:
        """The next proposal nobody holds: first those whose lease ended before ``now_s``, then new ones.
        ``None`` when none is free (all handed out or done). Islands take turns: proposal i is for island i mod n.

        Raises ``ValueError`` if the archive has no founders yet."""
        ...

    def sample_parents(self, ticket: Ticket, uniforms: Sequence[float]) -> Parents:
        """Draws parents and inspirations for the ticket and remembers them with it: later holders of the same proposal
        get the same ones (and so ask for the same completion), unless their island was reset meanwhile. Fewer than
        asked for when the island is small, but at least one parent.

        ``uniforms``: at least ``2 * (num_parents + num_inspirations)`` numbers in [0, 1)."""
        ...

    def renew(self, ticket: Ticket, now_s: float) -> bool:
        """Prolongs the lease. False if the ticket is no longer the holder."""
        ...

    def holds(self, program: Program) -> bool:
        """Is this normalised source in the archive already (scored or failed)?"""
        ...

    def commit(self, ticket: Ticket, child: Candidate, uniforms: Sequence[float]) -> Commit:
        """Takes the child in, closes the proposal, and resets or migrates islands when their interval is reached.

        The holder may repeat it and gets the same outcome again, without a second effect.
        ``uniforms``: at least ``num_islands`` numbers in [0, 1), used if a reset is due."""
        ...

    def best(self, count: int) -> list[Candidate]:
        """The best distinct scored programs, best first; equal scores by shorter source, then id.

        Over all that was ever scored: an island's reset or a late commit loses nothing that was paid for."""
        ...

    def candidate(self, program_id: str) -> Candidate | None: ...

    def progress(self) -> Progress: ...

    def operations(self) -> list[tuple[str, int]]:
        """The order in which proposals were sampled and committed: ("sample" | "commit", proposal index).

        Repeating them in this order on a new archive of the same settings and founders, with the same uniforms and
        children, gives the same archive."""
        ...


class CorruptRecordError(RuntimeError):
    """A stored record does not read back. It is reported, never skipped."""


class SchemaVersionError(RuntimeError):
    """The store was written by another schema version: the message says what to do."""


class StoreUnavailableError(RuntimeError):
    """The store cannot serve (gone, full disk, no memory, wrong password): one line that says what to do.

    Nothing acknowledged before it is lost; the run goes on from there once the cause is mended."""
