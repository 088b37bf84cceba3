"""The empirical game for the report: payoff matrices as heat maps, the meta-strategy over the iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from workers.report import charts, listing
from workers.report.figures import Figure, compact
from workers.report.payoffs import MIXTURES, Payoffs
from workers.report.run_files import RunFiles

_WRITTEN_CELLS_UP_TO = 10  # policies; a larger payoff matrix shows colours, and its numbers on demand


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


def heat_maps(run: RunFiles) -> list[HeatMap]:
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
    several = payoffs.columns == (MIXTURES,)
    if several:
        whose = f"player {payoffs.player}'s policies against the other players' mixtures"
    caption = f"Iteration {payoffs.iteration}: return of {whose}, \N{PLUS-MINUS SIGN} standard error. "
    caption += f"Colours run from {compact(-top)} to {compact(top)}."
    size = f"{len(payoffs.rows)} \N{MULTIPLICATION SIGN} {len(payoffs.columns)} policies"
    seat = "" if payoffs.player == 0 else ", the column policy's returns"
    if several:
        size, seat = f"{len(payoffs.rows)} policies", f" of player {payoffs.player}"
    numbers = (
        ", with numbers" if written and max(len(payoffs.rows), len(payoffs.columns)) > _WRITTEN_CELLS_UP_TO else ""
    )
    summary = f"Iteration {payoffs.iteration}: {size}{seat}{numbers}"
    return HeatMap(summary, caption, payoffs.iteration, rows, payoffs.columns, written)


def mixtures(run: RunFiles) -> list[Mixture]:
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
