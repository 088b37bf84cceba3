"""A run as one file: its directory and its store, to be kept, sent, or gone on with on another machine.

A gzipped tar: ``manifest.json`` first (format, run id, csro's version), ``store.msgpack`` with every key of the run's
store, and ``run/`` with the files of its directory.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

import msgpack

from evolve.archive.inventory import Entry, delete_run, dump_run, restore_run, run_ids
from evolve.archive.redis import Connection
from evolve.archive.server import ensure_server, stop_server
from workers.catalog import KnownRun
from workers.errors import RunFailedError, UsageError
from workers.run_directory import RunDirectory

FORMAT = 1
_MANIFEST, _STORE, _FILES = "manifest.json", "store.msgpack", "run/"
_LEFT_OUT = ("store", ".lock")


@dataclass(frozen=True)
class Manifest:
    run_id: str
    csro: str
    keys: int
    files: int


def export_run(run: KnownRun, path: Path) -> Manifest:
    """Writes the archive file; nothing is left of it if that fails. A run may be exported while it goes on: its store
    is taken as of one moment. Raises :class:`UsageError` if the file is there, ``OSError`` if it cannot be written."""
    if path.exists():
        raise UsageError(f"{path} exists: choose another file, or remove it")
    with run.opened() as store:
        entries = dump_run(store.connection, run.run_id)
        experiment = store.load("experiment")
    files = _files(run.directory)
    if "experiment.toml" not in files and experiment is not None:
        files["experiment.toml"] = str(experiment["toml"]).encode()  # its directory is on another machine
    manifest = Manifest(run.run_id, metadata.version("csro"), len(entries), len(files))
    partial = path.with_name(f".{path.name}.partial")
    try:
        with tarfile.open(partial, "w:gz") as archive:
            _add(archive, _MANIFEST, json.dumps({"format": FORMAT, **vars(manifest)}).encode())
            _add(archive, _STORE, msgpack.packb(entries))
            for name, content in files.items():
                _add(archive, _FILES + name, content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def import_run(path: Path, out: Path | None, shared_url: str | None) -> tuple[Manifest, Path]:
    """Makes the run's directory (``out``, else under ``runs/``) and puts its store back: into the one at ``shared_url``
    if given, else into an embedded one. Raises :class:`UsageError` if the file is no run or the run is here already."""
    manifest, entries, files = _read(path)
    directory = out or Path("runs") / manifest.run_id
    if (directory / "experiment.toml").exists():
        raise UsageError(f"{directory} holds a run already: choose another --out")
    url = shared_url or ensure_server(directory / "store")
    connection = Connection(url)
    try:
        if manifest.run_id in run_ids(connection):
            raise UsageError(f"the store at {connection.name} has a run {manifest.run_id} already")
        try:
            restore_run(connection, manifest.run_id, entries)
        except (ValueError, TypeError) as error:
            delete_run(connection, manifest.run_id)
            raise UsageError(f"{path} does not read back: {error}") from error
    finally:
        connection.close()
        if shared_url is None:
            stop_server(directory / "store")
    for name, content in files.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return manifest, directory


def _files(directory: Path | None) -> dict[str, bytes]:
    if directory is None:
        return {}
    names = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return {name.as_posix(): (directory / name).read_bytes() for name in names if name.parts[0] not in _LEFT_OUT}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))


def _read(path: Path) -> tuple[Manifest, list[Entry], Mapping[str, bytes]]:
    """Nothing is written while it is read, so a file that turns out broken leaves nothing behind."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            contents = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
            parts = {name: file.read() for name, file in contents.items() if file is not None}
        found = json.loads(parts.pop(_MANIFEST))
        if found["format"] != FORMAT:
            raise UsageError(f"{path} has format {found['format']}, this csro reads {FORMAT}")
        manifest = Manifest(_run_id(found["run_id"], path), found["csro"], found["keys"], found["files"])
        entries = [(name, kind, list(values)) for name, kind, values in msgpack.unpackb(parts.pop(_STORE))]
        files = {_safe(name, path): content for name, content in parts.items()}
    except FileNotFoundError:
        raise UsageError(f"no file {path}") from None
    except (tarfile.TarError, EOFError, OSError, KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is no archive of a run: {error or type(error).__name__}") from error
    if (len(entries), len(files)) != (manifest.keys, manifest.files):
        raise UsageError(f"{path} is incomplete: {len(entries)} of {manifest.keys} keys, {len(files)} files")
    return manifest, entries, files


def _run_id(found: object, path: Path) -> str:
    """It names a directory and keys of a store."""
    if not isinstance(found, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", found) or set(found) == {"."}:
        raise UsageError(f"{path} is of a run {found!r}, which no run may be called")
    return found


def _safe(name: str, path: Path) -> str:
    """A member's name within the run's directory; no archive may write elsewhere."""
    inner = PurePosixPath(name.removeprefix(_FILES))
    outside = inner.is_absolute() or ".." in inner.parts
    if not name.startswith(_FILES) or outside or not inner.parts or inner.parts[0] in _LEFT_OUT:
        raise UsageError(f"{path} holds {name!r}, which is no file of a run")
    return str(inner)


def remove_run(run: KnownRun) -> None:
    """Deletes a run for good: its keys in a shared store, its directory. Raises :class:`RunFailedError` while a driver
    has it."""
    state, _ = run.describe()
    if state in ("searching", "working", "starting"):
        raise RunFailedError(f"run {run.run_id} is under way ({state}): stop it first")
    guard = RunDirectory(run.directory) if run.directory is not None else None
    if guard is not None:
        guard.lock()
    if run.shared:
        with run.opened() as store:
            delete_run(store.connection, run.run_id)
    if guard is not None:
        if not run.shared:
            stop_server(guard.path / "store")
        shutil.rmtree(guard.path)
        guard.unlock()

