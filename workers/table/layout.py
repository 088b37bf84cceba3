"""A filled table in the paper's layout: for a terminal, as Markdown, as CSV, and as one JSON object."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

from evolve.llm.budget import Usage
from evolve.population_metrics import SeedSummary, over_seeds
from workers.table.core import CellResult, Column, Row, Table
from workers.table.runner import Filled, Missing

_SPENT = ("calls", "tokens", "USD")
_NUMBERS = ("mean", "stderr", "stderr of one run", "max", "min", "paper")


@dataclass(frozen=True)
class Line:
    """One row over its seeds: a summary per column (``None`` where no seed has the figure), and what it cost in all."""

    row: Row
    summaries: tuple[SeedSummary | None, ...]
    spent: Usage
    results: tuple[CellResult, ...]
    missing: tuple[Missing, ...]


def lines(table: Table, rows: Sequence[Row], seeds: Sequence[int], filled: Filled) -> list[Line]:
    """The rows in the table's order."""
    return [_line(table, row, seeds, filled) for row in rows]


def _line(table: Table, row: Row, seeds: Sequence[int], filled: Filled) -> Line:
    cells = [filled[row.name, seed] for seed in seeds if (row.name, seed) in filled]
    results = tuple(cell for cell in cells if isinstance(cell, CellResult))
    summaries = tuple(_summary(column, results) for column in table.columns)
    amounts = [result.spent.amounts() for result in results]
    spent = Usage.of_amounts(*(sum(column) for column in zip(*amounts, strict=True))) if amounts else Usage()
    return Line(row, summaries, spent, results, tuple(cell for cell in cells if isinstance(cell, Missing)))


def _summary(column: Column, results: Sequence[CellResult]) -> SeedSummary | None:
    values = [value for result in results if (value := column.read(result.figures)) is not None]
    return over_seeds(values) if values else None


# -- as text -----------------------------------------------------------------------------------------------------------


def headings(table: Table) -> list[str]:
    """Of the columns as printed: heads, then mean, best seed and the paper's figure for each, then the price."""
    figures = [name for column in table.columns for name in _names(table, column)]
    return [*table.heads, *figures, "seeds", *_SPENT]


def _names(table: Table, column: Column) -> list[str]:
    own = [f"{column.title} mean ± stderr", column.best]
    return [*own, "paper"] if _has_paper(table, column) else own


def _has_paper(table: Table, column: Column) -> bool:
    return any(column.title in row.paper for row in table.rows)


def texts(table: Table, line: Line) -> list[str]:
    """One printed row, under :func:`headings`."""
    cells = list(line.row.head)
    for column, summary in zip(table.columns, line.summaries, strict=True):
        cells += _figure(column, summary, line)
        if _has_paper(table, column):
            cells.append(line.row.paper.get(column.title, ""))
    if line.row.work is None:
        return [*cells, "", "", "", ""]
    spent = line.spent
    price = f"{spent.usd:.2f}" + ("?" if spent.unpriced_calls else "")
    return [*cells, _seeds(line), str(spent.llm_calls), f"{spent.tokens_in + spent.tokens_out:,}", price]


def _figure(column: Column, summary: SeedSummary | None, line: Line) -> list[str]:
    if summary is None:
        return ["", ""]
    number = f"{{:.{column.decimals}f}}"
    mean = number.format(summary.mean)
    if summary.seeds > 1:
        mean += f" ± {number.format(summary.stderr)}"
    elif (error := _own_error(column, line)) is not None:
        mean += f" ± {number.format(error)} (one run)"
    return [mean, number.format(summary.maximum if column.best == "max" else summary.minimum)]


def _own_error(column: Column, line: Line) -> float | None:
    """Of a row with a single seed: the standard error over that run's own matches."""
    if column.error is None or len(line.results) != 1:
        return None
    return column.error(line.results[0].figures)


def _seeds(line: Line) -> str:
    """How many seeds are behind a row, and what is missing or cut short."""
    parts = [str(len(line.results))]
    if stopped := sum(1 for result in line.results if result.stopped and "llm_calls" not in result.stopped):
        parts.append(f"{stopped} cut short")
    if failed := sum(1 for cell in line.missing if cell.failed):
        parts.append(f"{failed} failed")
    if left := sum(1 for cell in line.missing if not cell.failed):
        parts.append(f"{left} not begun")
    return ", ".join(parts)


def rich_table(table: Table, found: Sequence[Line]) -> RichTable:
    """One column per figure, its best seed and the paper's figure below the mean, so that it fits a screen."""
    shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, show_lines=True)
    for heading in table.heads:
        shown.add_column(heading)
    for heading in (*(column.title for column in table.columns), "seeds", *_SPENT):
        shown.add_column(heading, justify="right")
    for line in found:
        *_, seeds, calls, tokens, usd = texts(table, line)
        figures = [
            _stacked(column, summary, line) for column, summary in zip(table.columns, line.summaries, strict=True)
        ]
        shown.add_row(*line.row.head, *figures, seeds, calls, tokens, usd)
    return shown


def _stacked(column: Column, summary: SeedSummary | None, line: Line) -> str:
    mean, best = _figure(column, summary, line)
    paper = line.row.paper.get(column.title)
    parts = [mean, f"{column.best} {best}" if len(line.results) > 1 and best else "", f"paper {paper}" if paper else ""]
    return escape("\n".join(filter(None, parts)))


def markdown(table: Table, found: Sequence[Line]) -> str:
    def joined(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    names = headings(table)
    rule = ["---"] * len(table.heads) + ["---:"] * (len(names) - len(table.heads))
    rows = [joined(texts(table, line)) for line in found]
    notes = [f"\n{note}" for note in table.notes]
    return "\n".join([f"**{table.title}**\n", joined(names), joined(rule), *rows, *notes]) + "\n"


def csv_text(table: Table, found: Sequence[Line]) -> str:
    """Full precision, one number a column."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    figures = [f"{c.title} {part}" for c in table.columns for part in _NUMBERS]
    writer.writerow(["row", *table.heads, *figures, "seeds", "llm_calls", "tokens_in", "tokens_out", "usd"])
    for line in found:
        numbers: list[object] = []
        for column, summary in zip(table.columns, line.summaries, strict=True):
            own: list[float | None] = [None] * 5
            if summary:
                error = _own_error(column, line)
                own = [summary.mean, _known(summary), error, summary.maximum, summary.minimum]
            numbers += [*own, line.row.paper.get(column.title, "")]
        spent = line.spent
        price = [spent.llm_calls, spent.tokens_in, spent.tokens_out, spent.usd]
        writer.writerow([line.row.name, *line.row.head, *numbers, len(line.results), *price])
    return buffer.getvalue()


def to_json(table: Table, found: Sequence[Line], seeds: Sequence[int]) -> dict[str, Any]:
    """One object: title, notes and a row each, with every figure's value per seed."""
    return {
        "title": table.title,
        "notes": list(table.notes),
        "seeds": list(seeds),
        "rows": [_row_json(table, line) for line in found],
    }


def _row_json(table: Table, line: Line) -> dict[str, Any]:
    figures = {}
    for column, summary in zip(table.columns, line.summaries, strict=True):
        values = [column.read(result.figures) for result in line.results]
        errors = {"stderr": _known(summary), "stderr_of_one_run": _own_error(column, line)} if summary else {}
        figures[column.title] = {**asdict(summary), **errors, "values": values} if summary else None
    return {
        "name": line.row.name,
        **dict(zip(table.heads, line.row.head, strict=True)),
        "figures": figures,
        "paper": dict(line.row.paper),
        "spent": asdict(line.spent),
        "stopped": [result.stopped for result in line.results],
        "missing": [{"reason": cell.reason, "failed": cell.failed} for cell in line.missing],
    }


def _known(summary: SeedSummary) -> float | None:
    return summary.stderr if summary.seeds > 1 else None
