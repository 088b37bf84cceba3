"""The runs known here: directories under ``runs/``, and the runs of the store at ``CSRO_REDIS_URL``.

Commands that look at a run from outside find it here by its directory or its id, and read its store whether its driver
lives or not. What they do must leave a live run alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evolve.archive import inventory
from evolve.archive.core import SchemaVersionError
from evolve.archive.redis import Connection, RedisStore
from evolve.archive.server import ensure_server, running_server, stop_server
from games.registry import near_matches
from workers.errors import UsageError
from workers.run_directory import RunDirectory, RunDirectoryError
from workers.status import Status, load_status

ROOT = Path("runs")


@dataclass(frozen=True)
class KnownRun:
    """``directory`` is ``None`` for a run of the shared store whose directory is elsewhere; ``shared`` says that its
    store is the one at ``CSRO_REDIS_URL``."""

    run_id: str
    directory: Path | None
    shared: bool

    def describe(self) -> tuple[str, Status | None]:
        """What it does now, in a word, and its status where its store can be read without starting anything."""
        url = self._live_url()
        if url is not None:
            try:
                with _store(url, self.run_id) as store:
                    status, now_s = load_status(store), store.now_s()
            except SchemaVersionError:
                return "other version", None
            if status is not None:
                return status.state(now_s), status
        if self.directory is not None and (self.directory / "summary.json").is_file():
            return "ended", None
        return "gone" if url is None else "starting", None

    def _live_url(self) -> str | None:
        if self.shared:
            return os.environ["CSRO_REDIS_URL"]
        return running_server(self.directory / "store") if self.directory is not None else None

    @contextmanager
    def live(self) -> Iterator[RedisStore | None]:
        """Its store while a server answers for it, else ``None``. Starts nothing."""
        url = self._live_url()
        if url is None:
            yield None
            return
        with _store(url, self.run_id) as store:
            yield store

    @contextmanager
    def opened(self) -> Iterator[RedisStore]:
        """Its store, started for the purpose where no driver has it. Raises ``RunDirectoryError`` if it has none."""
        with self.live() as store:
            if store is not None:
                yield store
                return
        directory = self.directory
        if directory is None or not (directory / "store").is_dir():
            raise RunDirectoryError(f"run {self.run_id} has no store here: set CSRO_REDIS_URL to the one it used")
        guard = RunDirectory(directory)
        guard.lock()  # no driver may start meanwhile: it would lose its server when we are done
        url = ensure_server(directory / "store")
        try:
            with _store(url, self.run_id) as store:
                yield store
        finally:
            stop_server(directory / "store")
            guard.unlock()


@contextmanager
def _store(url: str, run_id: str) -> Iterator[RedisStore]:
    store = RedisStore(url, run_id)
    try:
        yield store
    finally:
        store.close()


def known_runs(root: Path | None = None) -> list[KnownRun]:
    """All runs known here, by id."""
    shared = set(shared_run_ids())
    found: dict[str, KnownRun] = {run_id: KnownRun(run_id, None, True) for run_id in shared}
    for file in sorted((root or ROOT).glob("*/experiment.toml")):
        run = _at(file.parent, shared)
        if run is not None:
            found[run.run_id] = run
    return [found[run_id] for run_id in sorted(found)]


def find_run(name: str) -> KnownRun:
    """The run of that directory or id. Raises :class:`UsageError` with near matches."""
    path = Path(name)
    for directory in (path, ROOT / name):
        if (directory / "experiment.toml").is_file():
            run_id = RunDirectory.open(directory)[1].run_id
            return KnownRun(run_id, directory, run_id in shared_run_ids())
    runs = {run.run_id: run for run in known_runs()}
    if name not in runs:
        hint = near_matches(name, runs) if runs else "; none is known under runs/ or in CSRO_REDIS_URL"
        raise UsageError(f"no run {name!r}: name its directory or id{hint}")
    return runs[name]


def _at(directory: Path, shared: set[str]) -> KnownRun | None:
    """The run of a directory, or ``None`` where another version wrote it."""
    try:
        run_id = RunDirectory.open(directory)[1].run_id
    except RunDirectoryError:
        return None
    return KnownRun(run_id, directory, run_id in shared)


def shared_run_ids() -> list[str]:
    """The runs of the store at ``CSRO_REDIS_URL``; none if it is not set. Raises ``StoreUnavailableError``."""
    url = os.environ.get("CSRO_REDIS_URL")
    if not url:
        return []
    connection = Connection(url)
    try:
        return inventory.run_ids(connection)
    finally:
        connection.close()
