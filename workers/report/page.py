"""Renders the report: the run's files in, one HTML file out, with no script and nothing to load.

The page states a content-security policy that allows only its own style sheet, by hash. Program text, ids and file
contents are untrusted: all of them pass through autoescaping.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from workers.report import charts, listing
from workers.report.figures import Figure, compact, count, decimal, duration, share
from workers.report.run_files import (
    Ancestor,
    Iteration,
    Payoffs,
    PoolEntry,
    Promotion,
    RunFiles,
    as_figure,
    as_int,
    as_list,
    as_map,
    as_number,
    as_text,
    as_weights,
    read_run,
)

_METRICS = {
    "pop_return": "PopReturn",
    "pop_expl_naive": "PopExpl, naive maximum",
    "pop_expl": "PopExpl, split-half",
    "agg_score_naive": "AggScore, naive",
    "agg_score": "AggScore, split-half",
    "social_welfare": "Social welfare",
    "nash_conv": "NashConv",
}
_NOT_METRICS = ("matches_per_bot", "matches", "value", "exploitability_in_pool")
_WRITTEN_CELLS_UP_TO = 10  # policies; a larger payoff matrix shows colours, and its numbers on demand


@dataclass(frozen=True)
class Result:
    """What one player's final mixture earned: metrics, and the return against each bot, best first."""

    heading: str
    metrics: tuple[tuple[str, Figure], ...]
    matches_per_bot: int | None
    nemesis: str
    bots: tuple[tuple[str, Figure], ...]
    charts: tuple[Markup, ...]


@dataclass(frozen=True)
class Cell:
    """One square of a heat map; ``shade`` from n10 (the lowest return of the run) over 0 to 10."""

    figure: Figure | None
    shade: str
    tip: str


@dataclass(frozen=True)
class HeatMap:
    """A payoff matrix; where it is not ``written``, its figures show as colours and in each square's tip only."""

    summary: str
    caption: str
    iteration: int
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    columns: tuple[str, ...]
    written: bool


@dataclass(frozen=True)
class Mixture:
    """The meta-strategy of one population over the iterations: a chart, its legend and the same as a table."""

    name: str
    chart: Markup
    iterations: tuple[int, ...]
    rows: tuple[tuple[str, str, tuple[float, ...]], ...]  # label, colour class, weight by iteration


@dataclass(frozen=True)
class Member:
    """A policy of the pool, with its final weight."""

    entry: PoolEntry
    weight: float | None
    code: Markup


@dataclass(frozen=True)
class Descent:
    """How a promoted program came to be, and what it changed."""

    promotion: Promotion
    label: str
    base: str
    generations: int
    diff: Markup | None


def render_report(run_dir: Path) -> Path:
    """Writes ``report.html`` into ``run_dir`` and returns its path; parts that the run did not leave are noted there.

    Raises ``FileNotFoundError`` if there is no such directory, ``OSError`` if the page cannot be written.
    """
    page = render(read_run(run_dir), run_dir.resolve().name)
    path = run_dir / "report.html"
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def render(run: RunFiles, name: str) -> str:
    """The whole page. ``name`` titles a run whose summary gives no id."""
    css = _resource("report.css")
    return _template().render(
        run=run,
        name=as_text(run.summary.get("run_id")) or name,
        label=lambda program_id: listing.visible(run.label(program_id)),
        css=Markup(css),
        css_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        facts=_facts(run),
        stopped=as_text(run.summary.get("stopped")),
        results=_results(run.final),
        profile=_profile(run.final.get("profile")),
        solution=[as_number(run.final.get(key)) for key in ("value", "exploitability_in_pool")],
        return_chart=_return_chart(run.iterations),
        many_players=len({i.player for i in run.iterations}) > 1,
        heat_maps=_heat_maps(run),
        mixtures=_mixtures(run),
        islands=_island_charts(run),
        members=_members(run),
        descents=[_descent(run, promotion) for promotion in run.promotions],
    )


def _resource(name: str) -> str:
    return resources.files("workers.report").joinpath(name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        decimal=decimal, duration=duration, count=count, share=share, compact=compact, text=listing.visible
    )
    return environment.from_string(_resource("report.html"))


# -- what the run was -----------------------------------------------------------------------------------------------


def _facts(run: RunFiles) -> list[tuple[str, str]]:
    """Label and value of what was run, where, and at which price; only what the summary says."""
    summary, sandbox = run.summary, as_map(run.summary.get("sandbox"))
    facts = [(key.capitalize(), as_text(summary.get(key))) for key in ("game", "method", "oracle", "model", "seed")]
    level = as_int(sandbox.get("level"))
    weak = ", weaker levels allowed" if sandbox.get("allow_weak") is True else ""
    facts.append(("Sandbox", "" if level is None else f"level {level} of 4{weak}"))
    facts.append(("Layers", ", ".join(_layers(sandbox.get("layers")))))
    budget = as_map(summary.get("budget"))
    spent = [_amount(key, value) for key, value in budget.items() if value or key != "unpriced_calls"]
    facts.append(("Spent", ", ".join(spent)))
    versions = as_map(summary.get("versions"))
    facts.append(("Versions", ", ".join(f"{name} {as_text(v)}" for name, v in versions.items())))
    return [(label, value) for label, value in facts if value]


def _layers(layers: object) -> list[str]:
    if isinstance(layers, dict):
        return [name if on is True else f"{name}: {as_text(on)}" for name, on in layers.items() if on]
    return [as_text(layer) for layer in as_list(layers)]


def _amount(key: str, value: object) -> str:
    names = {
        "llm_calls": "LLM calls",
        "tokens_in": "tokens in",
        "tokens_out": "tokens out",
        "unpriced_calls": "unpriced",
    }
    number = as_number(value)
    if number is None:
        return f"{names.get(key, key)}: {as_text(value) or 'unknown'}"
    return f"{decimal(number, 2)} USD" if key == "usd" else f"{decimal(number, 0)} {names.get(key, key)}"


# -- what came out --------------------------------------------------------------------------------------------------


def _results(final: Mapping[str, object]) -> list[Result]:
    """Of the first player, and in games with two populations of the second."""
    opponent = as_map(final.get("opponent"))
    if not opponent:
        return [_result(final, "")]
    return [_result(final, "Player 0"), _result(opponent, "Player 1")]


def _result(final: Mapping[str, object], heading: str) -> Result:
    bots = _bots(final)
    title = "Return against each bot, with one standard error"
    return Result(
        heading=heading,
        metrics=tuple(_metrics(final)),
        matches_per_bot=as_int(final.get("matches_per_bot")),
        nemesis=as_text(final.get("nemesis")),
        bots=tuple(bots),
        charts=tuple(charts.bar_charts(bots, f"{heading}: {title}" if heading else title)),
    )


def _metrics(final: Mapping[str, object]) -> list[tuple[str, Figure]]:
    """Every scalar of ``final``, with its ``_stderr`` neighbour as its error."""
    matches = as_int(final.get("matches_per_bot"))
    metrics = []
    for key, value in final.items():
        figure = as_figure(value, matches)
        if figure is None or key.endswith("_stderr") or key in _NOT_METRICS:
            continue
        stderr = as_number(final.get(f"{key}_stderr", figure.stderr))
        metrics.append((_METRICS.get(key, key.replace("_", " ")), Figure(figure.mean, stderr, figure.matches)))
    return metrics


def _bots(final: Mapping[str, object]) -> list[tuple[str, Figure]]:
    """Return against each bot of the reference population, best first."""
    matches = as_int(final.get("matches_per_bot"))
    found = [(listing.visible(name), as_figure(r, matches)) for name, r in as_map(final.get("by_opponent")).items()]
    bots = [(name, figure) for name, figure in found if figure is not None]
    return sorted(bots, key=lambda row: -row[1].mean)


def _profile(profile: object) -> list[tuple[str, str]]:
    """Player and program id of PIBR's final profile."""
    if isinstance(profile, dict):
        return [(f"Player {player}", as_text(program_id)) for player, program_id in profile.items()]
    return [(f"Player {player}", as_text(program_id)) for player, program_id in enumerate(as_list(profile))]


def _return_chart(iterations: Sequence[Iteration]) -> Markup:
    series = []
    for player, group in groupby(sorted(iterations, key=lambda i: i.player), key=lambda i: i.player):
        run = tuple(charts.Point(float(i.number), i.best.mean, i.best.stderr) for i in group if i.best is not None)
        series.append(charts.Series(f"player {player}", (run,)))
    title = "Return of each iteration's best response, re-scored on fresh seeds, with one standard error"
    return charts.line_chart(series, title, "iteration", "return against the mixture", whole_x=True)


# -- the empirical game ---------------------------------------------------------------------------------------------


def _heat_maps(run: RunFiles) -> list[HeatMap]:
    """One per iteration (and player, in general-sum games), newest first, all on one colour scale."""
    everything = [f.mean for p in run.payoffs for row in p.cells for f in row if f is not None]
    top = max(map(abs, everything), default=0.0) or 1.0
    newest = max((p.iteration for p in run.payoffs), default=0)
    maps = []
    for payoffs in (p for p in reversed(run.payoffs) if p.rows):
        written = max(len(payoffs.rows), len(payoffs.columns)) <= _WRITTEN_CELLS_UP_TO
        maps.append(_heat_map(run, payoffs, top, written))
        if payoffs.iteration == newest and not written:
            maps.append(_heat_map(run, payoffs, top, written=True))
    return maps


def _heat_map(run: RunFiles, payoffs: Payoffs, top: float, written: bool) -> HeatMap:
    def cell(row: str, column: str, figure: Figure | None) -> Cell:
        shade = 0 if figure is None else round(10 * figure.mean / top)
        said = "not played" if figure is None else figure.in_words
        tip = listing.visible(f"{run.label(row)} against {run.label(column)}: {said}")
        return Cell(figure, f"n{-shade}" if shade < 0 else str(shade), tip)

    rows = tuple(
        (row, tuple(cell(row, column, f) for column, f in zip(payoffs.columns, line, strict=True)))
        for row, line in zip(payoffs.rows, payoffs.cells, strict=True)
    )
    whose = "the row policy" if payoffs.player == 0 else "the column policy"
    caption = f"Iteration {payoffs.iteration}: return of {whose}, \N{PLUS-MINUS SIGN} standard error. "
    caption += f"Colours run from {compact(-top)} to {compact(top)}."
    size = f"{len(payoffs.rows)} \N{MULTIPLICATION SIGN} {len(payoffs.columns)} policies"
    seat = "" if payoffs.player == 0 else ", the column policy's returns"
    numbers = (
        ", with numbers" if written and max(len(payoffs.rows), len(payoffs.columns)) > _WRITTEN_CELLS_UP_TO else ""
    )
    summary = f"Iteration {payoffs.iteration}: {size}{seat}{numbers}"
    return HeatMap(summary, caption, payoffs.iteration, rows, payoffs.columns, written)


def _mixtures(run: RunFiles) -> list[Mixture]:
    """The meta-strategy over iterations, one per population; policies in the order of their promotion."""
    by_iteration = [p for p in run.payoffs if p.player == 0 and any(p.weights)]
    populations = max((len(p.weights) for p in by_iteration), default=0)
    return [_mixture(run, by_iteration, k, populations) for k in range(populations)]


def _mixture(run: RunFiles, payoffs: Sequence[Payoffs], population: int, populations: int) -> Mixture:
    shares = [(p.iteration, p.weights[population] if len(p.weights) > population else {}) for p in payoffs]
    order = list(dict.fromkeys(program_id for _, weights in shares for program_id in weights))
    labels = {program_id: listing.visible(run.label(program_id)) for program_id in order}
    name = f"Population {population}" if populations > 1 else "The population"
    chart = charts.stacked_columns(
        [(str(number), weights) for number, weights in shares],
        order,
        labels,
        f"{name}: share of play of each policy, by iteration",
        "iteration",
    )
    rows = tuple(
        (labels[program_id], charts.colour(k), tuple(weights.get(program_id, 0.0) for _, weights in shares))
        for k, program_id in enumerate(order)
    )
    return Mixture(name, chart, tuple(number for number, _ in shares), rows)


# -- the search -----------------------------------------------------------------------------------------------------


def _island_charts(run: RunFiles) -> list[tuple[int, Markup, list[tuple[int, str]]]]:
    """Iteration, fitness curves, and island with colour class. A reset island starts a new line."""
    shown = []
    for iteration, islands in run.islands.items():
        series = []
        for island, points in islands.items():
            epochs = [list(group) for _, group in groupby(points, key=lambda p: p.epoch)]
            runs = tuple(tuple(charts.Point(p.committed, p.best) for p in epoch) for epoch in epochs)
            series.append(charts.Series(f"island {island}", runs))
        title = (
            f"Iteration {iteration}: best return on each of {count(len(islands), 'island', 'islands')} during search"
        )
        legend = [(island, charts.colour(k)) for k, island in enumerate(islands)]
        shown.append((iteration, charts.line_chart(series, title, "programs committed", "best return"), legend))
    return shown


def _members(run: RunFiles) -> list[Member]:
    opponent = as_map(run.final.get("opponent"))
    weights = {**as_weights(run.final.get("meta_strategy")), **as_weights(opponent.get("meta_strategy"))}
    if not weights and run.payoffs:
        weights = {program_id: w for mixture in run.payoffs[-1].weights for program_id, w in mixture.items()}
    return [Member(p, weights.get(p.id), listing.highlighted(p.program.source)) for p in run.pool]


def _descent(run: RunFiles, promotion: Promotion) -> Descent:
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
