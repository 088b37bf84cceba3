"""What the cells of a table cost, those included that failed: money that is spent whatever came of it."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path

from evolve.archive.redis import open_store
from evolve.archive.server import stop_server
from evolve.llm.budget import Usage
from workers.errors import run_errors
from workers.run_directory import RunDirectory
from workers.table.core import CellResult

_FILE = "spent.json"


def note_spending(cell: Path) -> None:
    """Keeps with a cell that did not come to its end what its run has spent so far. To be called when nothing of the
    run is left."""
    if not (cell / "experiment.toml").is_file():
        return
    run, experiment = RunDirectory.open(cell)
    with suppress(*run_errors()):  # what the store cannot tell now it tells when the cell is tried again
        try:
            with closing(open_store(experiment.run_id, run.store)) as store:
                CellResult({}, store.ledger(experiment.budget).spent()).save(cell / _FILE)
        finally:
            stop_server(run.store)  # which may have been started for a store that cannot be read


def spending(cell: Path) -> Usage:
    """Of a cell that is done, or did not come to its end when it was last tried."""
    for name in ("cell.json", _FILE):
        if (cell / name).is_file():
            return CellResult.load(cell / name).spent
    return Usage()
