"""Whole runs of the ``csro`` command, as a user starts them, for the drills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evolve.archive.progress import Progress
from evolve.archive.redis import RedisStore, open_store
from evolve.archive.server import stop_server
from games.registry import make_game
from workers.run_directory import RunDirectory

SMALL = (
    "game.num_rounds=100",
    "psro.iterations=2",
    "psro.payoff_matches=2",
    "oracle.matches=2",
    "oracle.fresh_matches=4",
    "archive.proposals=16",
    "archive.lease_s=3",
    "evaluation.matches=2",
)
"""Overrides of the demo that make a run of seconds."""

TIMEOUT_S = 900
"""Only what hangs reaches this, and the next: a slow machine may take several times what a quick one does."""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "workers.cli", *words]


def run_words(out: Path, *overrides: str, preset: str = "demo") -> list[str]:
    sets = [word for override in (*SMALL, *overrides) for word in ("--set", override)]
    return ["run", preset, "--out", str(out), *sets]


def csro(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command line to its end."""
    return subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, **(env or {})},
    )


def finished(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert result.returncode == 0, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


@contextmanager
def started(*words: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command under way; killed at the end if it is still there."""
    process = subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 600.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.02)


@contextmanager
def attached(out: Path) -> Iterator[RedisStore]:
    """The store of a run, whether its driver lives or not. Leaves the server as it was found: running."""
    _, experiment = RunDirectory.open(out)
    store = open_store(experiment.run_id, out / "store")
    try:
        yield store
    finally:
        store.close()


def stop_store(out: Path) -> None:
    stop_server(out / "store")


def committed(out: Path, task: str = "br-000") -> int:
    """Children that a run under way has committed to a task; 0 before it has a store."""
    if not (out / "store" / "server.address").exists():
        return 0
    with attached(out) as store:
        return progress(out, store, task).committed


def progress(out: Path, store: RedisStore, task: str = "br-000") -> Progress:
    """Of a task. Asked with the run's own settings: whoever opens an archive first fixes them."""
    _, experiment = RunDirectory.open(out)
    game = make_game(experiment.game.name, **experiment.game.parameters)
    return store.archive(task, experiment.archive_settings(game.spec.return_range)).progress()


def commits(store: RedisStore) -> dict[tuple[str, int], tuple[str, Any]]:
    """What is known of every committed proposal: its program and score."""
    return {
        (str(e["task"]), int(e["proposal"])): (str(e["program"]), e["mean_return"])  # type: ignore[call-overload]
        for e in store.events()
        if e["type"] == "commit"
    }


def completion_keys(store: RedisStore) -> set[str]:
    return {key for key, _, _ in store.completions.items()}


def summary(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return loaded


def processes(of: int, needle: str) -> list[int]:
    """Pids of the descendants of process ``of`` whose command line holds ``needle``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if needle in line and of in _ancestors(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _ancestors(pid: int) -> list[int]:
    """Parents up to the first process of the machine. Raises ``OSError`` if one of them ends meanwhile."""
    chain = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        chain.append(pid)
    return chain


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
