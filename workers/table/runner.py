"""Fills a table cell by cell, each kept on disk once it is known, so that the same command goes on after a kill."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from workers.errors import UsageError, run_errors, told
from workers.supervision import RunInterruptedError
from workers.table.core import Cell, CellResult, Request, Row, Table
from workers.table.spending import note_spending, spending
from workers.telemetry import Telemetry


@dataclass(frozen=True)
class Missing:
    """A cell without a result, and why."""

    reason: str
    failed: bool = True


Filled = Mapping[tuple[str, int], CellResult | Missing]
"""By row name and seed; rows of which only the paper's figures are known have no cells."""


def chosen_rows(table: Table, patterns: Sequence[str]) -> list[Row]:
    """The rows that some shell pattern matches, in the table's order; without patterns the table's own choice.

    Raises :class:`UsageError` for a pattern that matches none."""
    if not patterns:
        return [row for row in table.rows if row.shown]
    names = [row.name for row in table.rows]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "--list names them"
            raise UsageError(f"no row {pattern!r}; {hint}")
    return [row for row in table.rows if any(fnmatchcase(row.name, pattern) for pattern in patterns)]


class TableDirectory:
    """Where a table's cells are kept. It belongs to one table and one request; rows and seeds may be added to it."""

    def __init__(self, path: Path, name: str, request: Request) -> None:
        """Raises :class:`UsageError` if the directory holds another table, or the same one computed otherwise."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        file = path / "request.json"
        record = json.loads(json.dumps({"table": name, **asdict(request)}))
        if not file.is_file():
            file.write_text(json.dumps(record) + "\n", encoding="utf-8")
            return
        before = json.loads(file.read_text(encoding="utf-8"))
        if changed := [key for key in record if before.get(key) != record[key]]:
            was = ", ".join(f"{key}={before.get(key)!r}" for key in changed)
            raise UsageError(f"{path} holds a table with {was}: repeat that, or choose another --out")

    def cell(self, row: Row, seed: int) -> Path:
        return self.path / "cells" / row.name.replace("/", "-") / f"seed-{seed}"

    def result(self, row: Row, seed: int) -> CellResult | None:
        file = self.cell(row, seed) / "cell.json"
        return CellResult.load(file) if file.is_file() else None


def fill(
    directory: TableDirectory,
    rows: Sequence[Row],
    seeds: Sequence[int],
    request: Request,
    usd: float | None,
    telemetry: Telemetry,
) -> Filled:
    """Every cell of ``rows`` x ``seeds``, seed by seed, so that an early end leaves all rows with the same seeds.

    A cell that fails is told and left out; the next call tries it again. Once the cells, failed ones too, have cost
    ``usd``, no further one is begun. Raises ``RunInterruptedError`` on Ctrl-C.
    """
    cells = [(row, seed) for seed in seeds for row in rows if row.work is not None]
    filled: dict[tuple[str, int], CellResult | Missing] = {}
    for row, seed in cells:
        known = directory.result(row, seed)
        if known is not None:
            filled[row.name, seed] = known
    if usd is not None:
        for each in cells:
            if (each[0].name, each[1]) not in filled:
                note_spending(directory.cell(*each))  # a start that was killed told of nothing
    telemetry.say(f"table in {directory.path}: {len(cells)} cells, {len(filled)} known already")
    for place, (row, seed) in enumerate(cells, 1):
        if (row.name, seed) in filled:
            continue
        left = None if usd is None else usd - sum(spending(directory.cell(*each)).usd for each in cells)
        if left is not None and left <= 0:
            filled[row.name, seed] = Missing(f"not begun: the table's {usd:g} USD are spent", failed=False)
            continue
        telemetry.say(f"cell {place} of {len(cells)}: {row.name}, seed {seed}")
        filled[row.name, seed] = _compute(row, Cell(directory.cell(row, seed), seed, request, left, telemetry))
    return filled


def _compute(row: Row, cell: Cell) -> CellResult | Missing:
    assert row.work is not None
    cell.path.mkdir(parents=True, exist_ok=True)
    try:
        result = row.work.compute(cell)
    except run_errors() as error:
        line = told(error)
        reason = line[0] if line else str(error)
        cell.telemetry.warn(f"{row.name}, seed {cell.seed}: {reason}")
        note_spending(cell.path)
        return Missing(reason)
    except RunInterruptedError:
        note_spending(cell.path)
        raise
    result.save(cell.path / "cell.json")
    return result
