"""Renders the report: the run's files in, one HTML file out, with no script and nothing to load.

The page states a content-security policy that allows only its own style sheet, by hash. Program text, ids and file
contents are untrusted: all of them pass through autoescaping.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from workers.report import charts, empirical, figure2, listing, profiles, programs, yields
from workers.report.figures import Figure, compact, count, decimal, duration, share
from workers.report.raster import RasterError, png
from workers.report.run_files import Iteration, RunFiles, read_run
from workers.report.values import as_figure, as_int, as_list, as_map, as_number, as_text

_METRICS = {
    "pop_return": "PopReturn",
    "pop_expl_naive": "PopExpl, naive maximum",
    "pop_expl": "PopExpl, split-half",
    "agg_score_naive": "AggScore, naive",
    "agg_score": "AggScore, split-half",
    "social_welfare": "Social welfare",
    "over_starts": "Mean over starts",
    "worst_start": "Worst start",
    "best_start": "Best start",
    "mean_steps": "Steps of an episode",
    "completion_rate": "Completion rate",
    "collected": "Food collected",
    "efficiency": "Efficiency E[T*]/E[T]",
    "nash_conv": "NashConv",
    "drawn_pop_return": "PopReturn, a policy drawn per match",
    "drawn_pop_expl": "PopExpl of that, split-half",
    "drawn_agg_score": "AggScore of that, split-half",
}
_NOT_METRICS = ("exact", "matches_per_bot", "matches", "start", "step", "value", "exploitability_in_pool")
_UNSHOWN = ("drawn_matches_per_bot", "drawn_pop_expl_naive", "drawn_agg_score_naive")
_EXACT = ("nash_conv",)  # computed, not sampled: no error and no matches
_COUNTS = {"payoff_matches": "Matches behind the payoffs", "top_up_matches": "of them added where they matter"}


@dataclass(frozen=True)
class Result:
    """What one player's final mixture earned: metrics, and the return against each bot, best first."""

    heading: str
    metrics: tuple[tuple[str, Figure], ...]
    matches_per_bot: int | None
    nemesis: str
    bots: tuple[tuple[str, Figure], ...]
    charts: tuple[Markup, ...]


def render_report(run_dir: Path) -> Path:
    """Writes ``report.html`` into ``run_dir`` and returns its path; parts that the run did not leave are noted there.

    Raises ``FileNotFoundError`` if there is no such directory, ``OSError`` if the page cannot be written.
    """
    run, name = read_run(run_dir), run_dir.resolve().name
    panels = figure2.panels(run)
    page = render(run, name, panels, _write_figure2(panels, run, run_dir, name))
    path = run_dir / "report.html"
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def _write_figure2(panels: Sequence[figure2.Panel], run: RunFiles, run_dir: Path, name: str) -> str:
    """``figure2.svg`` and ``figure2.png``, if the run has that figure. Returns why there is no PNG, if so."""
    if not panels:
        return ""
    svg = figure2.standalone(panels, as_text(run.summary.get("game")), f"run {name}")
    (run_dir / "figure2.svg").write_text(svg, encoding="utf-8")
    try:
        picture = png(svg)
    except RasterError as error:
        (run_dir / "figure2.png").unlink(missing_ok=True)  # one of an earlier state
        return str(error)
    (run_dir / "figure2.png").write_bytes(picture)
    return ""


def render(run: RunFiles, name: str, panels: Sequence[figure2.Panel], no_png: str) -> str:
    """The whole page. ``name`` titles a run whose summary gives no id; ``panels`` are those of figure 2, whose files
    lie beside the page, and ``no_png`` says why there is no PNG among them, if so."""
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
        figure2=panels,
        no_png=no_png,
        starts=profiles.starts(run.final),
        profile=_profile(run.final.get("profile")),
        solution=[as_number(run.final.get(key)) for key in ("value", "exploitability_in_pool")],
        return_chart=None if panels else _return_chart(run.iterations),
        players=sorted({i.player for i in run.iterations}),
        many_starts=len({i.start for i in run.iterations}) > 1,
        colour=charts.colour,
        heat_maps=empirical.heat_maps(run),
        mixtures=empirical.mixtures(run),
        islands=[] if panels and programs.is_one_line(run) else programs.island_charts(run),
        yields=yields.tables(run.summary),
        effort=yields.effort(run.summary),
        members=programs.members(run),
        descents=[programs.descent(run, promotion) for promotion in run.promotions],
    )


def _resource(name: str) -> str:
    return resources.files("workers.report").joinpath(name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        decimal=decimal,
        duration=duration,
        count=count,
        share=share,
        compact=compact,
        text=listing.visible,
        flowing=listing.flowing,
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
    counted = ((label, as_int(run.final.get(key))) for key, label in _COUNTS.items())
    facts += [(label, f"{number:,}") for label, number in counted if number]
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
    """Of every player that has a population of its own; figures of the whole profile stand with the first one's."""
    others = [as_map(player) for player in as_list(final.get("players"))[1:]] or [as_map(final.get("opponent"))]
    if not others[0]:
        return [_result(final, "")]
    return [_result(player, f"Player {k}") for k, player in enumerate([final, *others])]


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
    matches, drawn = as_int(final.get("matches_per_bot")), as_int(final.get("drawn_matches_per_bot"))
    unneeded = ("pop_expl_naive", "agg_score_naive") if final.get("exact") is True else ()
    metrics = []
    for key, value in final.items():
        figure = as_figure(value, drawn if key.startswith("drawn_") else matches)
        if figure is None or key.endswith("_stderr") or key in (*_NOT_METRICS, *_UNSHOWN, *_COUNTS, *unneeded):
            continue
        if key in _EXACT:
            figure = Figure(figure.mean, 0.0, 0)
        stderr = as_number(final.get(f"{key}_stderr", figure.stderr))
        name = _METRICS.get(key, key.replace("_", " "))
        if final.get("exact") is True:
            name = name.removesuffix(", split-half")
        metrics.append((name, Figure(figure.mean, stderr, figure.matches)))
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
