"""What the cells of a table cost, those included that failed: money that is spent whatever came of it."""

from __future__ import annotations

from pathlib import Path

from evolve.archive.core import StoreUnavailableError
from evolve.archive.redis import open_store
from evolve.archive.server import stop_server
from evolve.llm.budget import Usage
from workers.run_directory import RunDirectory
from workers.table.core import CellResult

_FILE = "spent.json"


def note_spending(cell: Path) -> None:
    """Keeps with a cell that failed what its run has spent so far. To be called when nothing of the run is left."""
    if not (cell / "experiment.toml").is_file():
        return
    run, experiment = RunDirectory.open(cell)
    try:
        store = open_store(experiment.run_id, run.store)
    except StoreUnavailableError:
        return  # what the store cannot tell now it tells when the cell is tried again
    try:
        CellResult({}, store.ledger(experiment.budget).spent()).save(cell / _FILE)
    finally:
        store.close()
        if store.data_dir is not None:
            stop_server(store.data_dir)


def spending(cell: Path) -> Usage:
    """Of a cell that is done, or failed when it was last tried."""
    for name in ("cell.json", _FILE):
        if (cell / name).is_file():
            return CellResult.load(cell / name).spent
    return Usage()
