"""The mathematics of an island: clusters of like behaviour, an annealed choice among them, a bias to short programs.

After FunSearch (Romera-Paredes et al. 2024, Methods, "Programs database"), made a pure function of
the island and of uniform random numbers handed in. ``island.lua`` mirrors this module operation by
operation, in the same order, so that both implementations of the archive make the same choices.
"""

from __future__ import annotations

import hashlib
import math
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evolve.archive.core import ArchiveSettings, Parents
from evolve.candidate import Candidate
from evolve.scoring import OpponentReturn, Scored

SIGNATURE_DECIMALS = 3
"""Returns are rounded to this many decimals of the return span before programs are called alike."""

CONSIDERED_CLUSTERS = 64
"""The softmax runs over this many best clusters of an island, which bounds the cost of a draw."""

CLUSTER_MEMBERS = 32
"""A cluster keeps this many shortest programs to draw from."""


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


def entry(candidate: Candidate, return_scale: float) -> Entry:
    """The entry of a scored candidate. Raises ``ValueError`` if its return is not finite."""
    score, evaluation = candidate.score, candidate.evaluation
    if not isinstance(evaluation, Scored) or not math.isfinite(score):
        raise ValueError(f"program {candidate.program.id} has the return {score}, which no archive can rank")
    source, program_id = candidate.program.source, candidate.program.id
    return Entry(-score, len(source), program_id, signature(evaluation.by_opponent, return_scale))


def best_first(candidate: Candidate) -> tuple[float, int, str]:
    """Sort key of scored candidates: the order of :class:`Entry`."""
    return -candidate.score, len(candidate.program.source), candidate.program.id


def temperature(settings: ArchiveSettings, registered: int) -> float:
    """Falls linearly with the programs ``registered`` on the island, from the top again each period; never 0."""
    elapsed = registered % settings.temperature_period
    return settings.temperature * (1.0 - elapsed / settings.temperature_period)


def choose(weights: Sequence[float], uniform: float) -> int:
    """Index drawn with probability proportional to ``weights`` (all >= 0, one of them > 0)."""
    total = 0.0
    for weight in weights:  # not sum(): newer Pythons compensate its rounding, and Lua could not follow
        total += weight
    threshold, reached = uniform * total, 0.0
    for index, weight in enumerate(weights):
        reached += weight
        if threshold < reached:
            return index
    return len(weights) - 1


def cluster_weights(scores: Sequence[float], return_scale: float, heat: float) -> list[float]:
    """Softmax weights (unnormalised) of cluster scores given best first."""
    return [math.exp((score - scores[0]) / return_scale / heat) for score in scores]


def length_weights(lengths: Sequence[int], length_temperature: float) -> list[float]:
    """Softmax weights (unnormalised) of program lengths given shortest first; shorter is likelier."""
    span = lengths[-1] + 1e-6
    return [math.exp(-((length - lengths[0]) / span) / length_temperature) for length in lengths]


@dataclass
class Cluster:
    """Programs of one behaviour: the score of the best and ``(length, id)`` of the shortest, in that order."""

    score: float
    members: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Island:
    """One island's programs. ``registered`` counts arrivals since its founding, ``total`` sums their scores."""

    epoch: int = 0
    registered: int = 0
    total: float = 0.0
    ranking: list[Entry] = field(default_factory=list)
    clusters: dict[str, Cluster] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        return self.total / len(self.ranking)

    def register(self, new: Entry) -> None:
        """Takes a program in that is not on the island yet."""
        insort(self.ranking, new)
        cluster = self.clusters.setdefault(new.signature, Cluster(new.score))
        cluster.score = max(cluster.score, new.score)
        insort(cluster.members, (new.length, new.id))
        del cluster.members[CLUSTER_MEMBERS:]
        self.registered += 1
        self.total += new.score

    def draw(self, settings: ArchiveSettings, uniforms: Sequence[float]) -> list[str]:
        """Ids of ``num_parents + num_inspirations`` distinct programs (fewer if there are fewer), in the order drawn.

        Each draw takes two uniforms: one chooses a cluster, one a program in it. No cluster serves twice
        before every other with programs left has served once.
        """
        heat = temperature(settings, self.registered)
        ranked = sorted(self.clusters.items(), key=lambda item: (-item[1].score, item[0]))[:CONSIDERED_CLUSTERS]
        left = [(cluster.score, list(cluster.members)) for _, cluster in ranked]
        drawn: list[str] = []
        fresh = list(range(len(left)))
        for turn in range(settings.num_parents + settings.num_inspirations):
            if not fresh:
                fresh = [index for index, (_, members) in enumerate(left) if members]
            if not fresh:
                break
            weights = cluster_weights([left[index][0] for index in fresh], settings.return_scale, heat)
            members = left[fresh.pop(choose(weights, uniforms[2 * turn]))][1]
            lengths = length_weights([length for length, _ in members], settings.length_temperature)
            drawn.append(members.pop(choose(lengths, uniforms[2 * turn + 1]))[1])
        return drawn


def migrate(islands: Sequence[Island], migrants: int) -> None:
    """Each island's best ``migrants`` are copied to the next island of the ring, all as they were before the move."""
    travellers = [island.ranking[:migrants] for island in islands]
    for index, group in enumerate(travellers):
        target = islands[(index + 1) % len(islands)]
        for traveller in group:
            if traveller not in target.ranking:
                target.register(traveller)


def reset_weaker_half(islands: Sequence[Island], uniforms: Sequence[float]) -> None:
    """Empties the weaker half (best score, then mean, then index) and founds each anew with a survivor's best.

    ``uniforms[i]`` chooses the surviving island whose best refounds island i.
    """
    by_strength = sorted(range(len(islands)), key=lambda i: (islands[i].ranking[0].score, islands[i].mean, i))
    weak = by_strength[: len(islands) // 2]
    survivors = sorted(by_strength[len(islands) // 2 :])
    for index in weak:
        founder = islands[survivors[int(uniforms[index] * len(survivors))]].ranking[0]
        island = islands[index]
        island.epoch += 1
        island.registered, island.total = 0, 0.0
        island.ranking.clear()
        island.clusters.clear()
        island.register(founder)


def founding(founders: Sequence[Candidate], return_scale: float) -> tuple[dict[str, Candidate], list[Entry]]:
    """The distinct founders by id, and the entries of the scored ones.

    Raises ``ValueError`` if there are none of those."""
    distinct: dict[str, Candidate] = {}
    for founder in founders:
        distinct.setdefault(founder.program.id, founder)
    entries = [entry(founder, return_scale) for founder in distinct.values() if isinstance(founder.evaluation, Scored)]
    if not entries:
        raise ValueError("none of the founders is scored: an archive needs at least one program that runs")
    return distinct, entries


def arrange(drawn: Sequence[Candidate], num_parents: int) -> Parents:
    """The first ``num_parents`` drawn are the parents, the rest inspirations, each best first."""
    parents = sorted(drawn[:num_parents], key=best_first)
    return Parents(tuple(parents), tuple(sorted(drawn[num_parents:], key=best_first)))


def check_uniforms(uniforms: Sequence[float], needed: int) -> None:
    """Raises ``ValueError`` unless at least ``needed`` numbers in [0, 1) are there."""
    if len(uniforms) < needed or not all(0.0 <= uniform < 1.0 for uniform in uniforms):
        raise ValueError(f"this draw needs at least {needed} uniforms in [0, 1), not {list(uniforms)}")
