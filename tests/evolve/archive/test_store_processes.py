"""Many real processes on one store, some of them killed: every effect happens exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import archive_builders
import pytest

from evolve.archive.core import Archive, ArchiveSettings, Commit
from evolve.archive.redis import RedisStore, open_store
from evolve.archive.server import stop_server
from evolve.archive.store import settle_stored
from evolve.llm.budget import Budget, Usage

PROPOSALS = 400
SETTINGS = ArchiveSettings(proposals=PROPOSALS, lease_s=2.0, migration_interval=20)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("CSRO_REDIS_URL", raising=False)
    yield tmp_path / "data"
    stop_server(tmp_path / "data")


class Team:
    """Worker processes on one archive, each noting down what was acknowledged to it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.store = open_store("run", data_dir)
        self.archive = self.store.archive("task", SETTINGS)
        self.archive.found([archive_builders.scored("seed", -1.0)])
        self.processes: list[subprocess.Popen[bytes]] = []

    def hire(self) -> None:
        worker = f"w{len(self.processes)}"
        arguments = (self.data_dir, "run", worker, PROPOSALS, SETTINGS.lease_s, self.notes(worker))
        command = [sys.executable, archive_builders.__file__, *map(str, arguments)]
        self.processes.append(subprocess.Popen(command))

    def notes(self, worker: str) -> Path:
        return self.data_dir.parent / f"{worker}.notes"

    def wait_for(self, committed: int) -> None:
        while self.archive.progress().committed < committed:
            time.sleep(0.01)

    def acknowledged(self) -> list[tuple[int, str]]:
        lines = [
            line.split() for path in self.data_dir.parent.glob("*.notes") for line in path.read_text().splitlines()
        ]
        return [(int(index), outcome) for index, _, outcome in lines]


def check(store: RedisStore, archive: Archive, acknowledged: list[tuple[int, str]]) -> None:
    """Each proposal took effect once; what was acknowledged is there; the budget is exact."""
    progress = archive.progress()
    assert progress.done
    assert progress.committed == progress.handed_out == PROPOSALS
    # A child could be stale or failed, but no two proposals make the same one.
    assert progress.outcomes.get("failed") == PROPOSALS // 5
    assert set(progress.outcomes) <= {"added", "failed", "stale_island"}
    commits = Counter(index for name, index in archive.operations() if name == "commit")
    assert commits == Counter(range(PROPOSALS))
    took_effect = Counter(index for index, outcome in acknowledged if outcome != Commit.STALE_LEASE)
    assert max(took_effect.values()) == 1
    assert len(archive.best(2 * PROPOSALS)) == 1 + PROPOSALS - PROPOSALS // 5
    assert [c.score for c in archive.best(1)] == [PROPOSALS - 1]
    assert {key for key, _, _ in store.completions.items()} == {f"request-{i}" for i in range(PROPOSALS)}
    ledger = store.ledger(Budget())
    assert settle_stored(ledger, store.completions) == []
    assert ledger.spent() == Usage(PROPOSALS, 3 * PROPOSALS, 5 * PROPOSALS, 2 * PROPOSALS / 1e6)


@pytest.mark.slow
def test_four_processes_share_the_work(data_dir: Path) -> None:
    team = Team(data_dir)
    for _ in range(4):
        team.hire()
    assert [process.wait() for process in team.processes] == [0] * 4
    acknowledged = team.acknowledged()
    assert len(acknowledged) >= PROPOSALS
    check(team.store, team.archive, acknowledged)


@pytest.mark.slow
def test_workers_and_the_server_are_killed_under_load(data_dir: Path) -> None:
    team = Team(data_dir)
    for _ in range(3):
        team.hire()
    for round_, committed in enumerate((40, 110, 180, 250)):
        team.wait_for(committed)
        os.kill(int((data_dir / "server.pid").read_text()), signal.SIGKILL)
        team.wait_for(committed + 30)
        team.processes[round_].kill()
        team.hire()
    for process in team.processes[4:]:
        assert process.wait() == 0
    check(team.store, team.archive, team.acknowledged())
    assert (data_dir / "server.log").read_text().count("is starting") == 5
