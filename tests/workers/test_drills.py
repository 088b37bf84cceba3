"""Kills of the driver, a Ray worker and Redis at moments nobody chose: nothing is lost, nothing is done twice."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.runs import (
    TIMEOUT_S,
    attached,
    commits,
    committed,
    completion_keys,
    csro,
    finished,
    kill,
    processes,
    progress,
    run_words,
    started,
    stop_store,
    summary,
    wait_until,
)

pytestmark = pytest.mark.slow
RAY = pytest.mark.ray

PROPOSALS = 24


@pytest.fixture(autouse=True)
def no_server_left(tmp_path: Path) -> Iterator[None]:
    """A killed driver leaves its store running for the resume; a failed test must not leave it for ever."""
    yield
    stop_store(tmp_path / "run")


def _words(out: Path, *overrides: str) -> list[str]:
    return run_words(out, f"archive.proposals={PROPOSALS}", "workers.scorers=1", *overrides)


def _check(out: Path, known_commits: dict[tuple[str, int], object], known_completions: set[str]) -> None:
    """Everything that was there at the kill is there at the end, once; and the budget counts each completion once."""
    found = summary(out)
    with attached(out) as store:
        end = commits(store)
        assert {key: end[key] for key in known_commits} == known_commits
        assert completion_keys(store) >= known_completions
        events = [e for e in store.events() if e["type"] == "commit"]
        assert len(events) == len(end) == 2 * PROPOSALS
        assert found["budget"]["llm_calls"] == len(completion_keys(store))
    assert [entry["programs_scored"] for entry in found["iterations"]] == [PROPOSALS, PROPOSALS]


@pytest.mark.parametrize("execution", ["local", pytest.param("ray", marks=RAY)])
def test_the_driver_is_killed_and_resumed(tmp_path: Path, execution: str) -> None:
    out = tmp_path / "run"
    rng = random.Random(execution)
    with started(*_words(out, f"execution={execution}")) as driver:
        wait_until(lambda: committed(out) >= 1, "the first child")
        time.sleep(rng.uniform(0.0, 3.0))
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    with attached(out) as store:
        known, completions = commits(store), completion_keys(store)
    assert known
    finished(csro("run", "demo", "--resume", "--out", str(out)))
    _check(out, known, completions)


@RAY
def test_a_ray_worker_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(*_words(out, "execution=ray")) as driver:
        for name, at_least in (("ray::Scorer", 2), ("ray::Evolver", 6)):
            wait_until(lambda n=at_least: committed(out) >= n, f"{at_least} children")
            victims = processes(driver.pid, name)
            assert victims, f"no process {name}"
            kill(random.Random(name).choice(victims))
        _, said = driver.communicate(timeout=TIMEOUT_S)
        assert driver.returncode == 0, said
    _check(out, {}, set())


@RAY
def test_redis_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(*_words(out, "execution=ray")) as driver:
        wait_until(lambda: committed(out) >= 3, "3 children")
        with attached(out) as store:
            known, completions = commits(store), completion_keys(store)
        kill(int((out / "store" / "server.pid").read_text()))
        _, said = driver.communicate(timeout=TIMEOUT_S)
        assert driver.returncode == 0, said
    _check(out, known, completions)


def test_ctrl_c_finishes_what_is_paid_for_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(*_words(out, "execution=local")) as driver:
        wait_until(lambda: committed(out) >= 1, "the first child")
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the workers too
        _, said = driver.communicate(timeout=TIMEOUT_S)
    assert driver.returncode == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("csro: interrupted; nothing is lost, go on with: csro run demo --resume")
    assert "Traceback" not in said
    with attached(out) as store:
        known, completions = commits(store), completion_keys(store)
        # A proposal that only got ready is not asked any more; one that was is finished.
        answered = {prompt.sample for _, prompt, _ in store.completions.items() if not prompt.sample.endswith("/notes")}
        assert answered <= {f"{task}/{index}" for task, index in known}, "an answer that was paid for was dropped"
        assert 0 < progress(out, store).committed < PROPOSALS
    finished(csro("run", "demo", "--resume", "--out", str(out)))
    _check(out, known, completions)


def test_a_full_disk_pauses_the_run_until_there_is_room(tmp_path: Path) -> None:
    out, disk, kept = tmp_path / "run", tmp_path / "run" / "store", tmp_path / "kept"
    with started(*_words(out, "execution=local")) as driver:
        wait_until(lambda: committed(out) >= 1, "the first child")
        os.killpg(driver.pid, signal.SIGINT)
        driver.communicate(timeout=120)
    with attached(out) as store:
        known, completions = commits(store), completion_keys(store)
    stop_store(out)
    disk.rename(kept)
    disk.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs privileges this user has not")
    try:
        shutil.copytree(kept, disk, dirs_exist_ok=True)
        space = os.statvfs(disk)
        (disk / "ballast").write_bytes(b"x" * (space.f_bavail * space.f_frsize - (64 << 10)))
        with started("run", "demo", "--resume", "--out", str(out)) as driver:
            assert driver.stderr is not None
            told = next((line for line in driver.stderr if "paused until there is room" in line), "")
            assert f"free space in {disk}" in told, "it did not pause"
            (disk / "ballast").unlink()
            _, said = driver.communicate(timeout=300)
            assert driver.returncode == 0, said
            assert "going on" in said
            assert "Traceback" not in said
        _check(out, known, completions)
    finally:
        stop_store(out)
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # a sync may be under way
