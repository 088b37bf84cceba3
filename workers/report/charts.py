"""Charts as inline SVG. Pure functions; colours come from the page's style sheet, so both themes work.

Every chart is 360 units wide, so that its text can be read on a phone at one unit a pixel, and carries a title for
readers who cannot see it. Exact numbers stand in the tables beside the charts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from workers.report.figures import Figure, compact, decimal

WIDTH = 360.0
NUM_COLOURS = 24
"""Classes ``hue0`` to ``hue23`` of the style sheet; further series take them again from the first."""

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    stderr: float | None = None


@dataclass(frozen=True)
class Series:
    """Runs of points; each run is one unbroken line."""

    name: str
    runs: tuple[tuple[Point, ...], ...]


def scale_of(low: float, high: float, start: float, end: float) -> Scale:
    span = high - low or 1.0
    return lambda value: round(start + (value - low) / span * (end - start), 2)


def nice_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``."""
    if high <= low:
        low, high = low - 1, high + 1
    raw = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def svg(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">').format(WIDTH, height, title)
    return head + Markup("").join(parts) + Markup("</svg>")


def text(x: float, y: float, words: str, cls: str = "", anchor: str = "start") -> Markup:
    return Markup('<text x="{:g}" y="{:g}" class="{}" text-anchor="{}">{}</text>').format(x, y, cls, anchor, words)


def line(x1: float, y1: float, x2: float, y2: float, cls: str) -> Markup:
    return Markup('<line x1="{:g}" y1="{:g}" x2="{:g}" y2="{:g}" class="{}"/>').format(x1, y1, x2, y2, cls)


def colour(index: int) -> str:
    return f"hue{index % NUM_COLOURS}"


def line_chart(series: Sequence[Series], title: str, x_label: str, y_label: str, whole_x: bool = False) -> Markup:
    """Lines with error bars of one standard error, and a legend where there are several series.

    ``whole_x`` puts a tick at each whole x (iterations) instead of at round numbers."""
    points = [p for s in series for run in s.runs for p in run]
    if not points:
        return Markup("")
    left, right, top, bottom = 46.0, WIDTH - 10, 22.0, 172.0
    errors = [(p.y, p.stderr or 0.0) for p in points]
    y_ticks = nice_ticks(min(0.0, *(y - e for y, e in errors)), max(0.0, *(y + e for y, e in errors)))
    first, last = min(p.x for p in points), max(p.x for p in points)
    if whole_x:
        every = max(1, math.ceil((last - first + 1) / 12))
        x_ticks = [float(k) for k in range(int(first), int(last) + 1, every)]
        x_scale = scale_of(first - 0.5, last + 0.5, left, right)
    else:
        x_ticks = nice_ticks(first, last)
        x_scale = scale_of(x_ticks[0], x_ticks[-1], left, right)
    y_scale = scale_of(y_ticks[0], y_ticks[-1], bottom, top)
    parts = [text(4, 12, y_label, "axis")]
    for y in y_ticks:
        parts.append(line(left, y_scale(y), right, y_scale(y), "zero" if y == 0 else "grid"))
        parts.append(text(left - 5, y_scale(y) + 4, compact(y), "tick", "end"))
    parts += [text(x_scale(x), bottom + 15, compact(x), "tick", "middle") for x in x_ticks]
    parts.append(text(right, bottom + 30, x_label, "axis", "end"))
    for k, s in enumerate(series):
        parts += [_run(run, colour(k), x_scale, y_scale, s.name) for run in s.runs]
    return svg(title, bottom + 36, parts)


def _run(run: Sequence[Point], cls: str, x_scale: Scale, y_scale: Scale, name: str) -> Markup:
    path = " ".join(f"{x_scale(p.x):g},{y_scale(p.y):g}" for p in run)
    parts = [Markup('<polyline points="{}" class="line {}"/>').format(path, cls)]
    sparse = len(run) <= 40
    for p in run:
        x, y = x_scale(p.x), y_scale(p.y)
        if p.stderr:
            up, down = y_scale(p.y + p.stderr), y_scale(p.y - p.stderr)
            parts += [line(x, up, x, down, "error"), line(x - 3, up, x + 3, up, "error")]
            parts.append(line(x - 3, down, x + 3, down, "error"))
        if sparse:
            dot = '<circle cx="{:g}" cy="{:g}" r="{:g}" class="dot {}"><title>{} at {}: {}</title></circle>'
            shown = Figure(p.y, p.stderr) if p.stderr is not None else compact(p.y)
            parts.append(Markup(dot).format(x, y, 2.8 if p.stderr is not None else 1.8, cls, name, compact(p.x), shown))
    return Markup("").join(parts)


def stacked_columns(
    columns: Sequence[tuple[str, Mapping[str, float]]],
    order: Sequence[str],
    labels: Mapping[str, str],
    title: str,
    x_label: str,
) -> Markup:
    """Shares that sum to 1, one column each, in ``order`` from the bottom; a share with room carries its label."""
    if not columns:
        return Markup("")
    left, right, top, bottom = 46.0, WIDTH - 10, 22.0, 202.0
    y_scale = scale_of(0.0, 1.0, bottom, top)
    pitch = min(64.0, (right - left) / len(columns))
    right = left + pitch * max(2, len(columns))
    parts = [text(4, 12, "share of play", "axis")]
    for y in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line(left, y_scale(y), right, y_scale(y), "grid"))
        parts.append(text(left - 5, y_scale(y) + 4, f"{y:.0%}", "tick", "end"))
    every = max(1, math.ceil(len(columns) / 12))
    for k, (name, shares) in enumerate(columns):
        x, below = left + k * pitch + pitch * 0.08, 0.0
        if k % every == 0:
            parts.append(text(x + pitch * 0.42, bottom + 15, name, "tick", "middle"))
        for index, key in enumerate(order):
            share = shares.get(key, 0.0)
            if share <= 0:
                continue
            y, height = y_scale(below + share), y_scale(below) - y_scale(below + share)
            box = '<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" class="share {}"><title>{}</title></rect>'
            tip = f"{x_label} {name}: {labels.get(key, key)} {decimal(100 * share, 1)} %"
            parts.append(Markup(box).format(x, y, round(pitch * 0.84, 2), round(height, 2), colour(index), tip))
            label = labels.get(key, key)
            if height > 13 and len(label) * 6.2 < pitch * 0.84:
                parts.append(text(x + pitch * 0.42, y + height / 2 + 4, label, "inside", "middle"))
            below += share
    parts.append(text(right, bottom + 30, x_label, "axis", "end"))
    return svg(title, bottom + 36, parts)


def bar_charts(rows: Sequence[tuple[str, Figure]], title: str, per_chart: int = 22) -> list[Markup]:
    """Horizontal bars from zero with error bars of one standard error, and the figure itself at the right.

    Many rows make several charts of about equal height, on one scale."""
    if not rows:
        return []
    ends = [(f.mean, f.stderr or 0.0) for _, f in rows]
    ticks = nice_ticks(min(0.0, *(m - e for m, e in ends)), max(0.0, *(m + e for m, e in ends)), 3)
    size = math.ceil(len(rows) / math.ceil(len(rows) / per_chart))
    return [_bar_chart(rows[k : k + size], ticks, title) for k in range(0, len(rows), size)]


def _bar_chart(rows: Sequence[tuple[str, Figure]], ticks: Sequence[float], title: str) -> Markup:
    left, right, top, pitch = 100.0, 262.0, 24.0, 19.0
    scale = scale_of(ticks[0], ticks[-1], left, right)
    bottom = top + pitch * len(rows)
    parts = [line(scale(x), top - 4, scale(x), bottom, "zero" if x == 0 else "grid") for x in ticks]
    parts += [text(scale(x), top - 9, compact(x), "tick", "middle") for x in ticks]
    for k, (name, f) in enumerate(rows):
        middle = top + pitch * (k + 0.5)
        start, end = sorted((scale(0.0), scale(f.mean)))
        short = name if len(name) <= 15 else f"{name[:14]}\N{HORIZONTAL ELLIPSIS}"
        label = '<text x="{:g}" y="{:g}" class="name" text-anchor="end">{}<title>{}</title></text>'
        parts.append(Markup(label).format(left - 6, middle + 4, short, name))
        box = '<rect x="{:g}" y="{:g}" width="{:g}" height="11" class="{}"><title>{}: {}</title></rect>'
        sign = "bar-up" if f.mean >= 0 else "bar-down"
        parts.append(Markup(box).format(start, middle - 5.5, round(max(0.6, end - start), 2), sign, name, f.in_words))
        if f.stderr:
            low, high = scale(f.mean - f.stderr), scale(f.mean + f.stderr)
            parts += [line(low, middle, high, middle, "error"), line(low, middle - 3, low, middle + 3, "error")]
            parts.append(line(high, middle - 3, high, middle + 3, "error"))
        parts.append(text(WIDTH - 2, middle + 4, str(f), "value", "end"))
    return svg(title, bottom + 6, parts)
