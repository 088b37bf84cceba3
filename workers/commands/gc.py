"""Clears away what nothing needs any more: store servers whose run was killed, and sessions that dead Rays left in
their temporary directory. With --older-than DAYS also whole runs that ended that long ago: export first what is to be
kept. Without --yes it only says what it would do; runs under way are never touched."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from evolve.archive.server import running_server, stop_server
from workers.archive_file import remove_run
from workers.catalog import KnownRun, known_runs
from workers.run_directory import RunDirectory, RunDirectoryError

_LIVE = ("searching", "working", "starting")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="also runs that ended that many days ago")
    parser.add_argument("--ray-temp", type=Path, default=Path("/tmp/ray"), metavar="DIR", help="default /tmp/ray")
    parser.add_argument("--yes", action="store_true", help="do it")


def run(arguments: argparse.Namespace) -> int:
    found = [*_old_runs(arguments.older_than), *_idle_servers(), *_dead_sessions(arguments.ray_temp)]
    for _, act in found if arguments.yes else ():
        act()
    lines = [line for line, _ in found]
    if arguments.json:
        print(json.dumps({"done": arguments.yes, "found": lines}))
        return 0
    for line in lines or ["nothing to clear away"]:
        print(line)
    if lines and not arguments.yes:
        print("nothing was done yet: add --yes")
    return 0


_Action = tuple[str, Callable[[], None]]


def _old_runs(days: float | None) -> list[_Action]:
    if days is None:
        return []
    return [
        (f"run {known.run_id}: its directory and its store", lambda known=known: remove_run(known))  # type: ignore[misc]
        for known in known_runs()
        if known.directory is not None and _has_ended(known) and _age_days(known.directory) > days
    ]


def _has_ended(known: KnownRun) -> bool:
    """Runs that were killed or stopped can go on, and hold what was paid for."""
    ended = known.directory is not None and (known.directory / "summary.json").is_file()
    return ended and known.describe()[0] not in _LIVE


def _age_days(directory: Path) -> float:
    """Since anything of it was last written."""
    newest = max((path.stat().st_mtime for path in (directory, *directory.rglob("*"))), default=0.0)
    return (time.time() - newest) / 86_400


def _idle_servers() -> list[_Action]:
    """Embedded servers that a killed driver left behind; resuming the run starts them again."""
    return [
        (f"the store's server of run {known.run_id}, whose driver is gone", lambda known=known: _stop(known))  # type: ignore[misc]
        for known in known_runs()
        if known.directory is not None
        and running_server(known.directory / "store") is not None
        and known.describe()[0] not in _LIVE
    ]


def _stop(known: KnownRun) -> None:
    assert known.directory is not None
    guard = RunDirectory(known.directory)
    try:
        guard.lock()
    except RunDirectoryError:
        return  # a driver has started meanwhile
    stop_server(known.directory / "store")
    guard.unlock()


def _dead_sessions(temp: Path) -> list[_Action]:
    """Ray's session directories that no process was started with. Ray itself never removes them."""
    if not temp.is_dir():
        return []
    live = _command_lines()
    return [
        (f"Ray session {path}", lambda path=path: shutil.rmtree(path, ignore_errors=True))  # type: ignore[misc]
        for path in sorted(temp.glob("session_*"))
        if path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid() and path.name not in live
    ]


def _command_lines() -> str:
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)
