"""The programs of a run for the report: the search that found them, the pool they entered, and their descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from workers.report import charts, listing
from workers.report.figures import count, share
from workers.report.run_files import Ancestor, PoolEntry, Promotion, RunFiles
from workers.report.values import as_list, as_map, as_weights


@dataclass(frozen=True)
class Member:
    """A policy of the pool, and in words what it is in the end."""

    entry: PoolEntry
    role: str
    code: Markup


@dataclass(frozen=True)
class Descent:
    """How a promoted program came to be, and what it changed."""

    promotion: Promotion
    label: str
    base: str
    generations: int
    diff: Markup | None


def is_one_line(run: RunFiles) -> bool:
    """Had no search more than one island?"""
    return all(len(islands) == 1 for islands in run.islands.values())


def island_charts(run: RunFiles) -> list[tuple[str, Markup, list[tuple[int, str]]]]:
    """Which search, fitness curves, and island with colour class. A reset island starts a new line."""
    shown = []
    several = len({player for _, player in run.islands}) > 1
    for (iteration, player), islands in run.islands.items():
        search = f"Iteration {iteration}, player {player}" if several else f"Iteration {iteration}"
        series = []
        for island, points in islands.items():
            epochs = [list(group) for _, group in groupby(points, key=lambda p: p.epoch)]
            runs = tuple(tuple(charts.Point(p.committed, p.best) for p in epoch) for epoch in epochs)
            series.append(charts.Series(f"island {island}", runs))
        title = f"{search}: best return on each of {count(len(islands), 'island', 'islands')} during search"
        legend = [(island, charts.colour(k)) for k, island in enumerate(islands)]
        shown.append((search, charts.line_chart(series, title, "programs committed", "best return"), legend))
    return shown


def members(run: RunFiles) -> list[Member]:
    others = map(as_map, [run.final.get("opponent"), *as_list(run.final.get("players"))])
    weights = {i: w for player in (run.final, *others) for i, w in as_weights(player.get("meta_strategy")).items()}
    if not weights and run.payoffs:
        weights = {program_id: w for mixture in run.payoffs[-1].weights for program_id, w in mixture.items()}
    seats = as_map(run.final.get("profile"))
    return [Member(p, _role(p.id, weights, seats, run), listing.highlighted(p.program.source)) for p in run.pool]


def _role(program_id: str, weights: Mapping[str, float], seats: Mapping[str, object], run: RunFiles) -> str:
    if run.summary.get("method") != "pibr":
        weight = weights.get(program_id)
        return f"{share(weight)} of the final mixture" if weight else "not played in the final mixture"
    players = [seat for seat, chosen in seats.items() if chosen == program_id]
    return f"played by player {' and '.join(players)} in the final profile" if players else "not in the final profile"


def descent(run: RunFiles, promotion: Promotion) -> Descent:
    """The diff is against the nearest ancestor whose source the run kept."""
    sources = {p.id: p.program.source for p in run.pool}
    ancestors = {a.id: a for a in promotion.lineage}
    sources |= {a.id: a.source for a in promotion.lineage if a.source is not None}
    label = listing.visible(run.label(promotion.id))
    first = ancestors.get(promotion.id)
    parents = promotion.parents or (first.parents if first else ())
    base, generations = _nearest(parents, ancestors, sources)
    own = sources.get(promotion.id)
    diff = None if base is None or own is None else listing.unified_diff(sources[base], own)
    return Descent(promotion, label, base or "", generations, diff)


def _nearest(
    parents: Iterable[str], ancestors: Mapping[str, Ancestor], sources: Mapping[str, str]
) -> tuple[str | None, int]:
    """Breadth first, so that a parent comes before a grandparent."""
    seen: set[str] = set()
    generation = list(parents)
    for distance in range(1, len(ancestors) + 2):
        for program_id in generation:
            if program_id in sources:
                return program_id, distance
        seen.update(generation)
        older = (p for i in generation if i in ancestors for p in ancestors[i].parents)
        generation = [p for p in dict.fromkeys(older) if p not in seen]
    return None, 0
