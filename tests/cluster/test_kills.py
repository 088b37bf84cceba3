"""The kill drill: SIGKILLs at random moments over every kind of process of one run on a cluster. What was acknowledged
is there exactly once at the end, nothing is left pending, and the budget is exact.

``CSRO_DRILL_KILLS`` sets how many (100 for the full drill; some 15 minutes).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from evolve.archive.core import StoreUnavailableError
from evolve.archive.redis import RedisStore
from evolve.archive.server import ensure_server
from evolve.llm.budget import Budget
from tests.cluster.cluster import EXPERIMENT, Cluster, Worker, cluster, session_processes
from tests.workers.runs import commits, completion_keys, stop_store, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.ray]

KILLS = int(os.environ.get("CSRO_DRILL_KILLS", "10"))
PROPOSALS = max(40, 2 * KILLS)
WEIGHTS = {"evolver": 5, "scorer": 5, "driver": 1, "store": 2, "raylet": 1}
"""What is killed, and how often: drivers, stores and machines cost seconds each to come back."""
SETTINGS = (f"archive.proposals={PROPOSALS}", "archive.lease_s=2", "workers.evolvers=2", "workers.scorers=2")
MAX_RUNS = 20


def title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def victims(temp: Path, run: Path, worker: Worker) -> dict[str, list[int]]:
    """Pids by kind. The head's own raylet cannot come back without its head, so it is spared."""
    found: dict[str, list[int]] = {"evolver": [], "scorer": [], "driver": [], "store": [], "raylet": worker.raylets()}
    for pid in session_processes(temp):
        line = title(pid)
        for kind, needle in (("evolver", "ray::Evolver"), ("scorer", "ray::Scorer")):
            if line.startswith(needle):
                found[kind].append(pid)
        if "-m workers.job" in line and not line.startswith("/bin/"):
            found["driver"].append(pid)
    with contextlib.suppress(OSError, ValueError):
        found["store"].append(int((run / "store" / "server.pid").read_text()))
    return found


def test_nothing_is_lost_or_done_twice_under_random_kills(tmp_path: Path) -> None:
    rng = random.Random(5)
    killed: Counter[str] = Counter()
    with cluster(tmp_path, cpus=1) as running:
        # An embedded store, for it is csro's own to bring back.
        (tmp_path / "secrets.env").write_text("")
        ray = replace(running, redis_url="", environment={**running.environment, "CSRO_REDIS_URL": ""})
        worker = Worker(ray, cpus=2)
        worker.keep_up()
        wait_until(lambda: ray.nodes() == 2, "the second machine", 240)
        (tmp_path / "drill.toml").write_text(EXPERIMENT)
        runs = 0
        while not _enough(killed):  # on a fast machine a run may end before
            runs += 1
            assert runs <= MAX_RUNS, f"{MAX_RUNS} runs ended before these were enough: {killed}"
            _drill(ray, worker, f"drill-{runs}", rng, killed)
    print(f"killed in {runs} runs: {dict(killed)}")


def _enough(killed: Counter[str]) -> bool:
    return killed.total() >= KILLS and set(killed) == set(WEIGHTS)


def _drill(ray: Cluster, worker: Worker, run: str, rng: random.Random, killed: Counter[str]) -> None:
    """One run, with kills until there were enough or it ends."""
    out = ray.folder / run
    words = ("submit", str(ray.folder / "drill.toml"), "--id", run, "--out", str(out))
    words += tuple(word for setting in SETTINGS for word in ("--set", setting))
    ray.json(*words)
    ended, calm_until = 0, 0  # commits to wait for: a driver that is killed whenever it starts would never get anywhere
    seen: dict[tuple[str, int], object] = {}
    completions: set[str] = set()
    try:
        while not _enough(killed):
            time.sleep(rng.uniform(0.2, 1.5))
            worker.keep_up()
            job = ray.job(run)
            if job["status"] == "succeeded":
                break
            if job["status"] in ("failed", "stopped"):
                ended += 1
                assert ended <= killed.total() + 20, ray.csro("logs", run).stdout[-3000:]
                ray.json(*words)  # as its user would: submit the same again
                continue
            _look(out, run, seen, completions)
            if len(seen) >= calm_until and (kind := _kill(victims(ray.temp, out, worker), rng, killed)):
                calm_until = len(seen) + 2 * (kind == "driver")
        _finish(ray, run, words, worker)
        _check(out, run, seen, completions)
    finally:
        stop_store(out)
    print(f"{run}: {len(seen)} commits and {len(completions)} completions seen before a kill")


def _kill(found: dict[str, list[int]], rng: random.Random, killed: Counter[str]) -> str:
    """Kills one process, of a kind that was not hit yet if there is any of one now; its kind, none if it was gone."""
    there = [kind for kind, pids in found.items() if pids]
    fresh = [kind for kind in there if not killed[kind]]
    if not there:
        return ""
    kind = rng.choice(fresh) if fresh else rng.choices(there, [WEIGHTS[kind] for kind in there])[0]
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(found[kind]), signal.SIGKILL)
        killed[kind] += 1
        return kind
    return ""


def _finish(ray: Cluster, run: str, words: tuple[str, ...], worker: Worker) -> None:
    def ended() -> bool:
        worker.keep_up()  # the last kill may have been its own, and is noticed only now
        return ray.job(run)["status"] in ("succeeded", "failed", "stopped")

    for _ in range(20):
        wait_until(ended, f"{run} to end", 900)
        if ray.job(run)["status"] == "succeeded":
            return
        ray.json(*words)
    raise AssertionError(ray.csro("logs", run).stdout[-3000:])


def _look(out: Path, run: str, seen: dict[tuple[str, int], object], completions: set[str]) -> None:
    """Remembers all that is acknowledged now."""
    address = out / "store" / "server.address"
    if address.exists():
        with contextlib.suppress(StoreUnavailableError):
            store = RedisStore(f"unix://{address.read_text().strip()}", run)
            seen.update(commits(store))
            completions.update(completion_keys(store))
            store.close()


def _check(out: Path, run: str, seen: dict[tuple[str, int], object], completions: set[str]) -> None:
    store = RedisStore(ensure_server(out / "store"), run)
    end = commits(store)
    events = [e for e in store.events() if e["type"] == "commit"]
    assert len(events) == len(end) == 2 * PROPOSALS
    assert {key: end[key] for key in seen} == seen
    assert completion_keys(store) >= completions
    ledger = store.ledger(Budget())
    assert ledger.reserved() == {}
    assert ledger.spent().llm_calls == len(completion_keys(store))
    for task in ("br-000", "br-001"):
        work = f"{{csro:{run}}}:archive:{task}:work"
        assert store.connection.call("XPENDING", work, "evolvers")[0] == store.connection.call("XLEN", work) == 0
    store.close()
