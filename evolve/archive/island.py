"""An island: its programs in order of their scores, and in groups of like behaviour.

After FunSearch (Romera-Paredes et al. 2024, Methods, "Programs database"), or with the cells of MAP-Elites in place of
its clusters. ``island.lua`` mirrors this module operation by operation, in the same order, so that both
implementations of the archive hold the same.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from evolve.archive.core import ArchiveSettings
from evolve.candidate import Candidate
from evolve.scoring import OpponentReturn, Scored

SIGNATURE_DECIMALS = 3
"""Returns are rounded to this many decimals of the return span before programs are called alike."""

CLUSTER_MEMBERS = 32
"""A cluster keeps this many shortest programs to draw from."""

CELLS_PER_TRAIT = 5
"""Traits lie in [0, 1]; the grid of MAP-Elites divides each into this many parts."""


@dataclass(frozen=True, order=True)
class Entry:
    """What an island knows of a program; the order is best first: score, then shorter source, then id."""

    negative_score: float
    length: int
    id: str
    signature: str

    @property
    def score(self) -> float:
        return -self.negative_score


def signature(by_opponent: Mapping[str, OpponentReturn], return_scale: float) -> str:
    """Names a behaviour: the mean returns per opponent, rounded. Programs with one signature form a cluster."""
    unit = return_scale / 10**SIGNATURE_DECIMALS
    returns = [(name, round(by_opponent[name].mean / unit)) for name in sorted(by_opponent)]
    return hashlib.sha256(repr(returns).encode()).hexdigest()[:16]


def cell(traits: Sequence[float]) -> str:
    """Names the part of the grid in which a program's behavioural traits lie."""
    parts = (min(int(trait * CELLS_PER_TRAIT), CELLS_PER_TRAIT - 1) for trait in traits)
    return "cell-" + "-".join(map(str, parts))


def entry(candidate: Candidate, settings: ArchiveSettings) -> Entry:
    """The entry of a scored candidate. Raises ``ValueError`` if its return is not finite."""
    score, evaluation = candidate.score, candidate.evaluation
    if not isinstance(evaluation, Scored) or not math.isfinite(score):
        raise ValueError(f"program {candidate.program.id} has the return {score}, which no archive can rank")
    if settings.selection == "map_elites":
        group = cell(evaluation.traits)
    else:
        group = signature(evaluation.by_opponent, settings.return_scale)
    return Entry(-score, len(candidate.program.source), candidate.program.id, group)


def founding(founders: Sequence[Candidate], settings: ArchiveSettings) -> tuple[dict[str, Candidate], list[Entry]]:
    """The distinct founders by id, and the entries of the scored ones.

    Raises ``ValueError`` if there are none of those."""
    distinct: dict[str, Candidate] = {}
    for founder in founders:
        distinct.setdefault(founder.program.id, founder)
    entries = [entry(founder, settings) for founder in distinct.values() if isinstance(founder.evaluation, Scored)]
    if not entries:
        raise ValueError("none of the founders is scored: an archive needs at least one program that runs")
    return distinct, entries


@dataclass
class Cluster:
    """Programs of one behaviour: the score of the best and ``(length, id)`` of those kept, shortest first."""

    score: float
    members: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Island:
    """One island's programs. ``registered`` counts arrivals since its founding, ``total`` sums their scores,
    ``stalled`` counts the island's commits since its best score rose. ``failures`` are programs to repair, ``recent``
    the children committed last."""

    selection: str = "clusters"
    epoch: int = 0
    registered: int = 0
    total: float = 0.0
    stalled: int = 0
    ranking: list[Entry] = field(default_factory=list)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    recent: list[str] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return self.total / len(self.ranking)

    def register(self, new: Entry) -> None:
        """Takes a program in that is not on the island yet."""
        if not self.ranking or new.score > self.ranking[0].score:
            self.stalled = 0
        insort(self.ranking, new)
        self._group(new)
        self.registered += 1
        self.total += new.score

    def _group(self, new: Entry) -> None:
        cluster = self.clusters.get(new.signature)
        kept = (new.length, new.id)
        if cluster is None:
            self.clusters[new.signature] = Cluster(new.score, [kept])
            return
        if self.selection == "map_elites":
            if (-new.score, kept) < (-cluster.score, cluster.members[0]):
                cluster.score, cluster.members = new.score, [kept]
            return
        cluster.score = max(cluster.score, new.score)
        insort(cluster.members, kept)
        del cluster.members[CLUSTER_MEMBERS:]

    def find(self, program_id: str) -> Entry | None:
        return next((each for each in self.ranking if each.id == program_id), None)

    def revise(self, old: Entry, score: float) -> bool:
        """Gives a program its new score. True if it lost the island's first place by it."""
        was_first = self.ranking[0] == old
        del self.ranking[bisect_left(self.ranking, old)]
        insort(self.ranking, replace(old, negative_score=-score))
        self.total += score - old.score
        self._regroup(old.signature)
        return was_first and self.ranking[0].id != old.id

    def withdraw(self, old: Entry) -> bool:
        """Takes a program out, unless it is the island's last. True if it had the first place."""
        if len(self.ranking) == 1:
            return False
        was_first = self.ranking[0] == old
        del self.ranking[bisect_left(self.ranking, old)]
        self.total -= old.score
        self._regroup(old.signature)
        return was_first

    def _regroup(self, group: str) -> None:
        del self.clusters[group]
        for each in self.ranking:
            if each.signature == group:
                self._group(each)

    def refound(self, founder: Entry) -> None:
        """Starts a new epoch with one program."""
        self.epoch += 1
        self.registered, self.total, self.stalled = 0, 0.0, 0
        for held in (self.ranking, self.clusters, self.failures, self.recent):
            held.clear()
        self.register(founder)
