"""The island archive of one best-response task: what every implementation promises.

One archive belongs to one task (one PSRO iteration of one run). It holds the islands, hands out the
proposals that are still to be made, and takes their results exactly once. Every method is atomic and
safe for many processes. Only who holds a proposal depends on a clock, the archive's own; all else depends
on its state and the arguments alone (uniform random numbers are passed in), so that the recorded order of
operations replays to the same archive. Whatever a proposal is made from is fixed when
its parents are sampled, for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from evolve.archive.progress import Progress
from evolve.candidate import Candidate, IslandRef, Operator
from evolve.scoring import Evaluation


@dataclass(frozen=True)
class ArchiveSettings:
    """Shape of the search.

    ``proposals`` is the number of children to propose in all. With ``selection = "clusters"`` programs of one
    behaviour (returns per opponent) form a cluster; clusters are sampled by a softmax over their scores, normalised by
    ``return_scale`` (the game's return span), whose temperature falls linearly from ``temperature`` to 0 over
    ``temperature_period`` programs of an island and starts again (FunSearch, Methods; 0 keeps it constant). Within a
    cluster shorter programs are likelier: softmax of -length / ``length_temperature``, lengths normalised within the
    cluster (0 turns the bias off). With ``"map_elites"`` each cell of a grid over behavioural traits keeps its best
    program alone, and all cells are equally likely (Mouret and Clune 2015). With probability ``specialist_share`` the
    first parent is instead the best program of all islands against one opponent (the corners of the Pareto frontier
    over opponents; GEPA). ``fix_share`` of the proposals repair a program that failed, where there is one,
    ``crossover_share`` combine two parents, ``edit_share`` ask for SEARCH/REPLACE edits, the rest for full rewrites.
    ``variants`` names prompt variants; each is drawn in proportion to the share of its children that did better than
    their parents.

    ``migration_interval`` and ``reset_interval`` count committed children of the whole archive; 0 turns them off. A
    reset empties the weaker half of the islands and refounds each with the best of a surviving island; a migration
    copies each island's best ``migrants`` to the next island of the ring, or to one drawn at random. After
    ``stagnation_limit`` commits without a new best (0: never) an island is stagnant: it explores (hot, and without
    edits) until it finds one, or is founded anew with the best of another. Every ``rescore_interval``-th proposal of
    an island has its best program play further matches, and every ``notes_interval``-th sums up what was tried; 0
    turns these off. Raises ``ValueError`` on a value no archive can work with.
    """

    num_islands: int = 4
    proposals: int = 200
    selection: Literal["clusters", "map_elites"] = "clusters"
    temperature: float = 0.1
    temperature_period: int = 200
    length_temperature: float = 1.0
    return_scale: float = 1.0
    num_inspirations: int = 2
    specialist_share: float = 0.0
    edit_share: float = 0.4
    crossover_share: float = 0.0
    fix_share: float = 0.0
    variants: tuple[str, ...] = ()
    migration: Literal["ring", "random"] = "ring"
    migration_interval: int = 40
    migrants: int = 1
    reset_interval: int = 120
    stagnation_limit: int = 0
    stagnation_action: Literal["explore", "reseed"] = "explore"
    rescore_interval: int = 0
    notes_interval: int = 0
    lease_s: float = 15.0

    def __post_init__(self) -> None:
        self._require("num_islands", self.num_islands >= 1, "at least 1")
        for name in _AT_LEAST_ZERO:
            self._require(name, 0 <= getattr(self, name) < math.inf, "at least 0")
        for name in ("temperature", "return_scale", "lease_s"):
            self._require(name, 0 < getattr(self, name) < math.inf, "positive and finite")
        for name in ("specialist_share", "edit_share", "crossover_share", "fix_share"):
            self._require(name, 0 <= getattr(self, name) <= 1, "between 0 and 1")
        if self.edit_share + self.crossover_share + self.fix_share > 1 + 1e-9:
            raise ValueError("archive settings edit_share, crossover_share and fix_share together must not exceed 1")

    def _require(self, name: str, sound: bool, demand: str) -> None:
        if not sound:
            raise ValueError(f"archive setting {name} must be {demand}, not {getattr(self, name)}")


_AT_LEAST_ZERO = (
    "proposals",
    "temperature_period",
    "length_temperature",
    "num_inspirations",
    "migration_interval",
    "migrants",
    "reset_interval",
    "stagnation_limit",
    "rescore_interval",
    "notes_interval",
)


@dataclass(frozen=True)
class Ticket:
    """The right and duty to make proposal number ``index`` of a task, until its lease ends.

    ``attempt`` counts leases of the same proposal; a commit by an earlier holder is refused.
    """

    index: int
    attempt: int
    island: IslandRef


@dataclass(frozen=True)
class Elite:
    """A program whose score is to be made surer, as it was when it was drawn: ``revision`` counts its re-scorings."""

    candidate: Candidate
    revision: int


@dataclass(frozen=True)
class Parents:
    """What a proposal is made from, fixed when it was drawn.

    ``parents`` in the order drawn (two for a crossover; for a fix the program that failed), and other programs of the
    island as ``inspirations``, best first. ``variant`` is the prompt variant to use, ``""`` for none. ``as_of`` is the
    number of commits by then: what :meth:`Archive.seen` may answer from. ``notes`` is the island's latest summary;
    where this proposal is to write the next, ``recent`` holds the children to sum up. ``elite`` is to be re-scored.
    """

    parents: tuple[Candidate, ...]
    inspirations: tuple[Candidate, ...]
    operator: Operator = "full"
    variant: str = ""
    as_of: int = 0
    notes: str = ""
    recent: tuple[Candidate, ...] = ()
    elite: Elite | None = None


@dataclass(frozen=True)
class Findings:
    """What came up while a child was made, besides the child.

    ``improved``: it did better than its parent. ``played``, ``saved_by_racing`` and ``saved_by_novelty`` count
    matches. ``revised`` is the new evaluation of ``elite``, over all its matches. ``notes`` is the island's new
    summary, if there is one.
    """

    improved: bool = False
    played: int = 0
    saved_by_racing: int = 0
    saved_by_novelty: int = 0
    elite: Elite | None = None
    revised: Evaluation | None = None
    notes: str = ""


NO_FINDINGS = Findings()


class Commit(StrEnum):
    """What became of a child."""

    ADDED = "added"
    FAILED = "failed"  # recorded with its fault, in no cluster
    DUPLICATE = "duplicate"  # normalised source already in the archive
    STALE_ISLAND = "stale_island"  # its island was reset after its parents were drawn: recorded, on no island
    STALE_LEASE = "stale_lease"  # another holder has or had this proposal: nothing was changed


PAGE = 64
"""Programs fetched at a time by :func:`in_order`."""

EventOf = Callable[[Commit], Mapping[str, object]]
"""The line of the event log that a commit of this outcome leaves."""


class Archive(Protocol):
    """Islands of scored programs, and the proposals in flight."""

    @property
    def settings(self) -> ArchiveSettings: ...

    def found(self, founders: Sequence[Candidate]) -> None:
        """Starts every island from all scored ``founders``; failed ones are recorded. The second call on an
        archive changes nothing. Must come before the first claim.

        Raises ``ValueError`` if none of them is scored."""
        ...

    def claim(self, worker: str) -> Ticket | None:
        """The next proposal nobody holds, lowest number first: those whose lease has run out, then new ones.
        ``None`` when none is free (all handed out or done). Islands take turns: proposal i is for island i mod n.

        Raises ``ValueError`` if the archive has no founders yet."""
        ...

    def sample_parents(self, ticket: Ticket, uniforms: Sequence[float]) -> Parents:
        """Draws what the ticket's proposal is made from and remembers it: later holders of the same proposal get the
        same (and so ask for the same completion), unless their island was reset meanwhile. Fewer programs than asked
        for when the island is small, but at least one parent.

        ``uniforms``: at least ``evolve.archive.sampling.uniforms_needed(settings)`` numbers in [0, 1)."""
        ...

    def renew(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Begins the leases anew. Returns the tickets that are no longer the holders of theirs.

        Raises ``ValueError`` if this archive never handed one of them out."""
        ...

    def expire_leases(self) -> None:
        """Ends all leases now: for a driver that works alone, and so knows that whoever held them is gone."""
        ...

    def seen(self, name: str, as_of: int) -> Candidate | None:
        """The program of this id or behaviour, with its evaluation after the first ``as_of`` commits, if it was among
        these."""
        ...

    def commit(
        self,
        ticket: Ticket,
        child: Candidate,
        uniforms: Sequence[float],
        findings: Findings = NO_FINDINGS,
        event: EventOf | None = None,
    ) -> Commit:
        """Takes the child in, closes the proposal, and resets or migrates islands when their interval is reached; its
        ``event`` is appended to the run's log in the same step, but for a stale lease.

        The holder may repeat it and gets the same outcome again, without a second effect.
        ``uniforms``: at least ``2 * num_islands`` numbers in [0, 1), used for resets and random migrations."""
        ...

    def best(self, count: int, start: int = 0) -> list[Candidate]:
        """The best distinct scored programs but for the first ``start``, best first; equal scores by shorter source,
        then id.

        Over all that was ever scored: an island's reset or a late commit loses nothing that was paid for."""
        ...

    def candidate(self, program_id: str) -> Candidate | None:
        """The program of this id with its latest evaluation."""
        ...

    def progress(self) -> Progress: ...

    def operations(self) -> list[tuple[str, int]]:
        """The order in which proposals were sampled and committed: ("sample" | "commit", proposal index).

        Repeating them in this order on a new archive of the same settings and founders, with the same uniforms and
        children, gives the same archive."""
        ...


def in_order(archive: Archive) -> Iterator[Candidate]:
    """All of :meth:`Archive.best`, fetched as far as they are asked for, while the archive stands still."""
    start = 0
    while page := archive.best(PAGE, start):
        yield from page
        start += len(page)


class CorruptRecordError(RuntimeError):
    """A stored record does not read back. It is reported, never skipped."""


class SchemaVersionError(RuntimeError):
    """The store was written by another schema version: the message says what to do."""


class StoreUnavailableError(RuntimeError):
    """The store cannot serve (gone, full disk, no memory, wrong password): one line that says what to do.

    Nothing acknowledged before it is lost; the run goes on from there once the cause is mended."""


class StoreFullError(StoreUnavailableError):
    """The store's disk is full. Worth waiting for: it takes writes again as soon as there is room."""
