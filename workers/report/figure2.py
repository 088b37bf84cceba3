"""Figure 2 of the PIBR paper from any run: social welfare over optimisation steps.

Each dot is an episode, the dashed line their mean; a step whose program failed has no point, and a cross on the axis
says so. Dotted verticals part the outer loops. One panel a start; also as an SVG file that stands alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from workers.report import charts
from workers.report.figures import compact, count
from workers.report.run_files import RunFiles
from workers.report.values import as_int, as_list, as_map, as_number, as_text

_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #1d2126; }
.tick, .axis { fill: #58606a; font-size: 10.5px; } .grid { stroke: #dcdad5; } .zero { stroke: #58606a; }
.loop { stroke: #58606a; stroke-dasharray: 1 3; } .episode { fill: #2061a3; fill-opacity: .35; }
.mean { fill: none; stroke: #a8421f; stroke-width: 1.6; stroke-dasharray: 5 3; }
.missing { stroke: #a8421f; fill: none; }
.hover { fill: transparent; }
"""
_MOST_DOTS = 60
"""Episodes drawn of one step; more add nothing to the eye."""


@dataclass(frozen=True)
class Step:
    """One optimisation step of a start, counted from 1: the episodes' social welfare, none if the program failed."""

    number: int
    loop: int
    player: int
    fault: str
    episodes: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """The steps of one start, in their order."""

    start: int
    steps: tuple[Step, ...]
    chart: Markup

    @property
    def failed(self) -> int:
        return sum(not step.episodes for step in self.steps)


def panels(run: RunFiles) -> list[Panel]:
    """One a start; empty for runs of other methods, and where no search made a proposal."""
    if run.summary.get("method") != "pibr":
        return []
    made = []
    for start, steps in sorted(_steps(run).items()):
        title = f"Social welfare over optimisation steps, start {start}"
        made.append(Panel(start, tuple(steps), _chart(steps, title)))
    return made


_HEAD = 38.0  # two lines: one would not fit over a single panel


def standalone(made: Sequence[Panel], title: str, subtitle: str, columns: int = 3) -> str:
    """All panels as one SVG document."""
    columns = min(columns, len(made))
    rows = math.ceil(len(made) / columns)
    width, height = charts.WIDTH, _HEIGHT + 18
    head = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {:g} {:g}" width="{:g}" height="{:g}"><style>{}</style>'
        '<rect width="100%" height="100%" fill="#fff"/><text x="8" y="16">{}</text><text x="8" y="31">{}</text>'
    ).format(*(width * columns, height * rows + _HEAD) * 2, Markup(_STYLE), title, subtitle)
    parts = [head]
    for place, panel in enumerate(made):
        x, y = (place % columns) * width, (place // columns) * height + _HEAD
        parts.append(Markup('<g transform="translate({:g} {:g})">').format(x, y))
        parts.append(charts.text(46, 10, f"start {panel.start}", "axis"))
        inner = str(panel.chart)
        parts.append(Markup('<g transform="translate(0 14)">') + Markup(inner[inner.index(">") + 1 : -len("</svg>")]))
        parts.append(Markup("</g></g>"))
    return str(Markup("").join(parts)) + "</svg>\n"


def _steps(run: RunFiles) -> dict[int, list[Step]]:
    """By start. A task is named after the number of its best response, which the summary places."""
    places: dict[str, Mapping[str, object]] = {}
    for entry in map(as_map, as_list(run.summary.get("iterations"))):
        places[f"br-{(as_int(entry.get('iteration')) or 0) - 1:03d}"] = entry
    steps: dict[int, list[Step]] = {}
    for event in sorted(run.commits, key=lambda e: (as_text(e.get("task")), as_int(e.get("proposal")) or 0)):
        if as_text(event.get("task")) not in places:
            continue  # a search that has not ended
        entry = places[as_text(event.get("task"))]
        episodes = tuple(v for v in map(as_number, as_list(event.get("welfare"))) if v is not None)
        line = steps.setdefault(as_int(entry.get("start")) or 0, [])
        loop, player = as_int(entry.get("step")) or 0, as_int(entry.get("player")) or 0
        line.append(Step(len(line) + 1, loop, player, as_text(event.get("fault")), episodes))
    return steps


_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, charts.WIDTH - 10, 22.0, 182.0
_HEIGHT = _BOTTOM + 36


def _chart(steps: Sequence[Step], title: str) -> Markup:
    values = [value for step in steps for value in step.episodes] or [0.0]
    y_ticks = charts.nice_ticks(min(0.0, *values), max(0.0, *values))
    y_scale = charts.scale_of(y_ticks[0], y_ticks[-1], _BOTTOM, _TOP)
    x_scale = charts.scale_of(0.5, len(steps) + 0.5, _LEFT, _RIGHT)
    parts = [charts.text(4, 12, "social welfare", "axis")]
    for y in y_ticks:
        parts.append(charts.line(_LEFT, y_scale(y), _RIGHT, y_scale(y), "zero" if y == 0 else "grid"))
        parts.append(charts.text(_LEFT - 5, y_scale(y) + 4, compact(y), "tick", "end"))
    every = max(1, math.ceil(len(steps) / 12))
    parts += [
        charts.text(x_scale(step.number), _BOTTOM + 15, str(step.number), "tick", "middle") for step in steps[::every]
    ]
    parts += [
        charts.line(x_scale(after.number - 0.5), _TOP, x_scale(after.number - 0.5), _BOTTOM, "loop")
        for before, after in itertools.pairwise(steps)
        if (before.loop, before.player) != (after.loop, after.player)
    ]
    parts += [_missing(step, x_scale(step.number)) for step in steps if not step.episodes]
    parts += [_dots(step, x_scale(step.number), y_scale) for step in steps]
    parts += _mean(steps, x_scale, y_scale)
    parts.append(charts.text(_RIGHT, _BOTTOM + 30, "optimisation step", "axis", "end"))
    return charts.svg(title, _HEIGHT, parts)


def _dots(step: Step, x: float, y_scale: charts.Scale) -> Markup:
    dot = Markup('<circle cx="{:g}" cy="{:g}" r="2.4" class="episode"/>')
    return Markup("").join(dot.format(x, y_scale(value)) for value in step.episodes[:_MOST_DOTS])


def _missing(step: Step, x: float) -> Markup:
    cross = Markup('<path d="M{:g} {:g}l5 5m0 -5l-5 5" class="missing"><title>step {}: {}</title></path>')
    return cross.format(x - 2.5, _BOTTOM - 6, step.number, step.fault.replace("_", " ") or "no episode")


def _mean(steps: Sequence[Step], x_scale: charts.Scale, y_scale: charts.Scale) -> list[Markup]:
    """Unbroken between steps that ran; a lone step is a point of its own."""
    runs: list[list[Step]] = [[]]
    for step in steps:
        if step.episodes:
            runs[-1].append(step)
        elif runs[-1]:
            runs.append([])
    lines = []
    for run in runs:
        points = [(x_scale(s.number), y_scale(sum(s.episodes) / len(s.episodes)), s) for s in run]
        if len(points) > 1:
            path = " ".join(f"{x:g},{y:g}" for x, y, _ in points)
            lines.append(Markup('<polyline points="{}" class="mean"/>').format(path))
        for x, y, s in points:
            tip = f"step {s.number}, player {s.player}: mean {compact(sum(s.episodes) / len(s.episodes))}"
            tip += f" of {count(len(s.episodes), 'episode', 'episodes')}"
            lines.append(charts.line(x - 3.5, y, x + 3.5, y, "mean"))
            hover = Markup('<circle cx="{:g}" cy="{:g}" r="4" class="hover"><title>{}</title></circle>')
            lines.append(hover.format(x, y, tip))
    return lines
