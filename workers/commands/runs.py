"""Lists the runs known here: those under runs/, and those of the store at CSRO_REDIS_URL, with what they do now."""

from __future__ import annotations

import argparse
import json

from rich.markup import escape
from rich.table import Table

from workers.catalog import known_runs
from workers.tables import print_tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none of its own."""


def run(arguments: argparse.Namespace) -> int:
    rows = []
    for known in known_runs():
        state, status = known.describe()
        rows.append(
            {
                "run_id": known.run_id,
                "state": state,
                "directory": None if known.directory is None else str(known.directory),
                "store": "shared" if known.shared else "embedded",
                "iteration": None if status is None else status.iteration,
                "iterations": None if status is None else status.iterations,
                "host": None if status is None else status.host,
            }
        )
    if arguments.json:
        print(json.dumps(rows))
        return 0
    if not rows:
        print("no runs under runs/ or in CSRO_REDIS_URL; csro run demo makes one")
        return 0
    table = Table("run", "state", "iteration", "directory", "store", title="runs", title_justify="left")
    for row in rows:
        iteration = "" if row["iteration"] is None else f"{row['iteration']}/{row['iterations']}"
        where = row["directory"] or f"on {row['host'] or 'another machine'}"
        table.add_row(*map(escape, map(str, (row["run_id"], row["state"], iteration, where, row["store"]))))
    print_tables([table])
    return 0
