"""Runs the rows of a table of the papers over some seeds, and prints them side by side with the papers' own figures.
Cells are kept in --out, so the same command goes on after a kill and adds rows or seeds to what is there. Oracles are
compared call for call with --calls: each run makes that many LLM calls, over --iterations iterations."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from workers.commands.common import add_overrides, positive
from workers.errors import RunFailedError, UsageError
from workers.supervision import RunInterruptedError
from workers.table import layout
from workers.table.core import Request, Table
from workers.table.models import by_model
from workers.table.registry import make_table, table_names
from workers.table.runner import Missing, TableDirectory, chosen_rows, fill
from workers.telemetry import Telemetry

_WIDTH = 160  # of a table that goes to a file or a pipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="TABLE", help=f"one of {', '.join(table_names())}")
    parser.add_argument("--rows", metavar="PATTERN", nargs="+", default=[], help="row names or shell patterns")
    parser.add_argument("--models", metavar="M", nargs="+", help="every row under each of these models (llm.model)")
    parser.add_argument("--seeds", metavar="S", nargs="+", type=_seeds, default=[], help="seeds such as 1 2 3 or 1-5")
    parser.add_argument("--calls", metavar="N", type=positive, help="LLM calls of each run, the same for every oracle")
    parser.add_argument("--iterations", metavar="N", type=positive, help="iterations of each run")
    parser.add_argument("--matches", metavar="N", type=positive, help="matches per bot in the final evaluation")
    parser.add_argument("--usd", metavar="X", type=float, help="begin no further cell once all of them have cost this")
    parser.add_argument("--out", metavar="DIR", type=Path, help="the table's directory (default tables/TABLE)")
    parser.add_argument("--list", action="store_true", help="only print the names of the rows")
    add_overrides(parser, "llm.model=openai:MODEL, game.num_rounds=100")


def run(arguments: argparse.Namespace) -> int:
    table = make_table(arguments.name)
    rows = chosen_rows(table, ["*"] if arguments.list and not arguments.rows else arguments.rows)
    if arguments.models:
        if any(override.partition("=")[0].strip() == "llm.model" for override in arguments.overrides):
            raise UsageError("--models and --set llm.model=... both name the model: give one of them")
        table, rows = by_model(table, rows, list(dict.fromkeys(arguments.models)))
    if arguments.list:
        names = [row.name for row in rows]
        print(json.dumps(names) if arguments.json else "\n".join(names))
        return 0
    seeds = sorted({seed for group in arguments.seeds for seed in group}) or list(table.seeds)
    request = Request(tuple(arguments.overrides), arguments.calls, arguments.iterations, arguments.matches)
    directory = TableDirectory(arguments.out or Path("tables") / arguments.name, arguments.name, request)
    with Telemetry() as telemetry:
        try:
            filled = fill(directory, rows, seeds, request, arguments.usd, telemetry)
        except RunInterruptedError:
            raise RunFailedError("interrupted; nothing is lost: the same command goes on") from None
    table = replace(table, notes=(*table.notes, request.in_words(arguments.usd)))
    found = layout.lines(table, rows, seeds, filled)
    _write(directory.path, table, found, seeds)
    if arguments.json:
        print(json.dumps(layout.to_json(table, found, seeds), allow_nan=False))
    else:
        console = Console(highlight=False)
        console.width = console.width if console.is_terminal else _WIDTH
        console.print(layout.rich_table(table, found))
        print("\n".join(table.notes))
        print(f"also in {directory.path}: table.md, table.csv, table.json")
    return 1 if any(isinstance(cell, Missing) and cell.failed for cell in filled.values()) else 0


def _write(path: Path, table: Table, found: list[layout.Line], seeds: list[int]) -> None:
    (path / "table.md").write_text(layout.markdown(table, found), encoding="utf-8")
    (path / "table.csv").write_text(layout.csv_text(table, found), encoding="utf-8")
    text = json.dumps(layout.to_json(table, found, seeds), indent=1, allow_nan=False)
    (path / "table.json").write_text(text + "\n", encoding="utf-8")


def _seeds(text: str) -> list[int]:
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a seed such as 3, or a range such as 1-5")
    return list(range(int(first), int(last or first) + 1))
