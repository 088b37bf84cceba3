"""What a proposal is made from, as a pure function of its island and of uniform random numbers handed in.

Clusters and short programs as in FunSearch (Methods), cells as in MAP-Elites, specialists as in GEPA's frontier over
instances, with opponents for instances. ``sampling.lua`` mirrors this module operation by operation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolve.archive.core import ArchiveSettings, Elite, Parents
from evolve.archive.island import Island
from evolve.archive.progress import Yield
from evolve.candidate import Candidate, Operator

CONSIDERED_CLUSTERS = 64
"""The choice runs over this many best clusters of an island, which bounds the cost of a draw."""

EXPLORATION_HEAT = 10.0
"""A stagnant island's temperature is the initial one times this."""

REVISIONS = 4
"""A program is re-scored this often at most."""

DECISIONS = 4
"""Uniforms before those of the programs: operator, prompt variant, specialist or not, which opponent's."""


@dataclass(frozen=True)
class Draw:
    """:class:`evolve.archive.core.Parents` with references in place of programs: an id, or ``id@revision``."""

    operator: Operator
    variant: str
    as_of: int
    notes: int
    elite: str
    parents: tuple[str, ...]
    inspirations: tuple[str, ...]
    recent: tuple[str, ...]

    @property
    def references(self) -> tuple[str, ...]:
        elite = (self.elite,) if self.elite else ()
        return self.parents + self.inspirations + self.recent + elite


def reference(program_id: str, revision: int) -> str:
    """Names a program with its evaluation after so many re-scorings. What it names never changes."""
    return f"{program_id}@{revision}" if revision else program_id


def uniforms_needed(settings: ArchiveSettings) -> int:
    """Uniforms that a draw takes: each program takes two, one for its cluster and one for its place in it."""
    return DECISIONS + 2 * (2 + settings.num_inspirations)


def check_uniforms(uniforms: Sequence[float], needed: int) -> None:
    """Raises ``ValueError`` unless at least ``needed`` numbers in [0, 1) are there."""
    if len(uniforms) < needed or not all(0.0 <= uniform < 1.0 for uniform in uniforms):
        raise ValueError(f"this draw needs at least {needed} uniforms in [0, 1), not {list(uniforms)}")


def best_first(candidate: Candidate) -> tuple[float, int, str]:
    """Sort key of scored candidates: the order of :class:`evolve.archive.island.Entry`."""
    return -candidate.score, len(candidate.program.source), candidate.program.id


def resolve(draw: Draw, notes: str, programs: Mapping[str, Candidate]) -> Parents:
    """The draw with its programs."""
    elite = None
    if draw.elite:
        elite = Elite(programs[draw.elite], int(draw.elite.partition("@")[2] or 0))
    return Parents(
        tuple(programs[each] for each in draw.parents),
        tuple(sorted((programs[each] for each in draw.inspirations), key=best_first)),
        draw.operator,
        draw.variant,
        draw.as_of,
        notes,
        tuple(programs[each] for each in draw.recent),
        elite,
    )


# -- mirrored in sampling.lua -------------------------------------------------------------------------------------


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


def is_stagnant(settings: ArchiveSettings, stalled: int) -> bool:
    return 0 < settings.stagnation_limit <= stalled


def temperature(settings: ArchiveSettings, registered: int, stalled: int = 0) -> float:
    """Falls linearly with the programs ``registered`` on the island, from the top again each period; never 0."""
    if is_stagnant(settings, stalled):
        return settings.temperature * EXPLORATION_HEAT
    if settings.temperature_period == 0:
        return settings.temperature
    elapsed = registered % settings.temperature_period
    return settings.temperature * (1.0 - elapsed / settings.temperature_period)


def cluster_weights(scores: Sequence[float], settings: ArchiveSettings, heat: float) -> list[float]:
    """Weights (unnormalised) of clusters given best first: a softmax of their scores; alike for cells."""
    if settings.selection == "map_elites":
        return [1.0] * len(scores)
    return [math.exp((score - scores[0]) / settings.return_scale / heat) for score in scores]


def length_weights(lengths: Sequence[int], length_temperature: float) -> list[float]:
    """Softmax weights (unnormalised) of program lengths given shortest first; shorter is likelier."""
    if length_temperature == 0:
        return [1.0] * len(lengths)
    span = lengths[-1] + 1e-6
    return [math.exp(-((length - lengths[0]) / span) / length_temperature) for length in lengths]


def choose_operator(settings: ArchiveSettings, uniform: float, stagnant: bool, can_fix: bool) -> Operator:
    """By the shares; a repair needs a failure, and a stagnant island makes no small steps."""
    if uniform < settings.fix_share:
        return "fix" if can_fix else "full"
    if uniform < settings.fix_share + settings.crossover_share:
        return "crossover"
    if uniform < settings.fix_share + settings.crossover_share + settings.edit_share:
        return "full" if stagnant else "edit"
    return "full"


def choose_variant(settings: ArchiveSettings, yields: Mapping[str, Yield], uniform: float) -> str:
    """In proportion to (improved + 1) / (made + 2), the mean of the posterior from a uniform prior."""
    if not settings.variants:
        return ""
    counts = [yields.get(name, Yield()) for name in settings.variants]
    weights = [(count.improved + 1.0) / (count.made + 2.0) for count in counts]
    return settings.variants[choose(weights, uniform)]


def draw_programs(
    island: Island, settings: ArchiveSettings, count: int, taken: str, uniforms: Sequence[float]
) -> list[str]:
    """Ids of ``count`` distinct programs other than ``taken`` (fewer if there are fewer), in the order drawn.

    No cluster serves twice before every other with programs left has served once.
    """
    heat = temperature(settings, island.registered, island.stalled)
    ranked = sorted(island.clusters.items(), key=lambda item: (-item[1].score, item[0]))[:CONSIDERED_CLUSTERS]
    left = [(c.score, [member for member in c.members if member[1] != taken]) for _, c in ranked]
    drawn: list[str] = []
    fresh = [index for index, (_, members) in enumerate(left) if members]
    for turn in range(count):
        if not fresh:
            fresh = [index for index, (_, members) in enumerate(left) if members]
        if not fresh:
            break
        weights = cluster_weights([left[index][0] for index in fresh], settings, heat)
        members = left[fresh.pop(choose(weights, uniforms[2 * turn]))][1]
        lengths = length_weights([length for length, _ in members], settings.length_temperature)
        drawn.append(members.pop(choose(lengths, uniforms[2 * turn + 1]))[1])
    return drawn


def choose_champion(champions: Mapping[str, tuple[float, str]], uniform: float) -> str:
    """The id of the program that is best against one opponent, opponents being equally likely."""
    opponents = sorted(champions)
    return champions[opponents[int(uniform * len(opponents))]][1]


def is_due(interval: int, turn: int) -> bool:
    """Is the island's proposal number ``turn``, from 0, the last of an interval?"""
    return interval > 0 and (turn + 1) % interval == 0


@dataclass(frozen=True)
class Board:
    """What a draw asks about besides its island: commits so far, yields of the prompt variants, the best program
    against each opponent with its mean return, number of the island's latest notes, and revisions of programs."""

    as_of: int
    variants: Mapping[str, Yield]
    champions: Mapping[str, tuple[float, str]]
    notes: int
    revisions: Mapping[str, int]

    def reference(self, program_id: str) -> str:
        return reference(program_id, self.revisions.get(program_id, 0))


def is_specialist(settings: ArchiveSettings, operator: Operator, board: Board, uniforms: Sequence[float]) -> bool:
    """Is the first parent to be the best program against one opponent?"""
    return operator != "fix" and bool(board.champions) and uniforms[2] < settings.specialist_share


def draw(island: Island, settings: ArchiveSettings, turn: int, uniforms: Sequence[float], board: Board) -> Draw:
    """What the island's proposal number ``turn`` is made from. A failure that is to be repaired leaves its list."""
    operator = choose_operator(
        settings, uniforms[0], is_stagnant(settings, island.stalled), can_fix=bool(island.failures)
    )
    parents: list[str] = [island.failures.pop()] if operator == "fix" else []
    wanted = {"fix": 0, "crossover": 2}.get(operator, 1)
    taken = ""
    if is_specialist(settings, operator, board, uniforms):
        taken = choose_champion(board.champions, uniforms[3])
        parents.append(board.reference(taken))
        wanted -= 1
    drawn = draw_programs(island, settings, wanted + settings.num_inspirations, taken, uniforms[DECISIONS:])
    others = [board.reference(each) for each in drawn]
    parents += others[:wanted]
    elite = ""
    if is_due(settings.rescore_interval, turn) and board.revisions.get(island.ranking[0].id, 0) < REVISIONS:
        elite = board.reference(island.ranking[0].id)
    return Draw(
        "full" if operator == "crossover" and len(parents) < 2 else operator,
        choose_variant(settings, board.variants, uniforms[1]),
        board.as_of,
        board.notes,
        elite,
        tuple(parents),
        tuple(others[wanted:]),
        tuple(island.recent) if is_due(settings.notes_interval, turn) else (),
    )
