"""Scoring processes of this machine: what they inherit, and what happens when one dies or loses its sandbox."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from evolve.program import Program
from evolve.scoring import Scored, ScoringTask
from sandbox.faults import SandboxError
from sandbox.limits import Limits
from tests.sandbox import cages
from tests.workers.runs import processes, started, stop_store, wait_until
from workers import remote
from workers.experiment import GameSettings
from workers.pool import LocalPool
from workers.scorer import ScorerConfig, ScoringProcess, claim_core

CANARY = "sk-canary-5f1c"
ROCK = Program("def policy(observation): return 0\n")
PAPER = Program("def policy(observation): return 1\n")
STUCK = Program("def policy(observation):\n    while True: pass\n")
TASK = ScoringTask({ROCK.id: ROCK}, {ROCK.id: 1.0}, matches_per_opponent=2, seed=1)


def pool_of(size: int, *reasons: list[str], limits: Limits = Limits()) -> LocalPool:  # noqa: B008  frozen
    config = ScorerConfig(GameSettings("repeated_rps", {"num_rounds": 10}), limits)
    return LocalPool(config, size, *(each.append for each in reasons))


def pid(_process: ScoringProcess) -> int:
    return os.getpid()


def lose_the_sandbox(process: ScoringProcess, cage: str) -> int:
    """Puts this scoring process into weaker surroundings for good, and kills its fork server."""
    cages.enter(cage)
    os.kill(process._referee._running().pid, signal.SIGKILL)
    return os.getpid()


async def scored(pool: LocalPool) -> Scored:
    evaluation = await pool.call(ScoringProcess.score, PAPER, TASK)
    assert isinstance(evaluation, Scored)
    return evaluation


def test_a_process_whose_sandbox_falls_below_the_minimum_takes_no_more_work() -> None:
    reasons: list[str] = []
    pool = pool_of(2, reasons)

    async def run() -> None:
        weak = await pool.call(lose_the_sandbox, "no_landlock")
        for _ in range(4):
            assert (await scored(pool)).level == 4 or os.getuid() != 0
        assert {await pool.call(pid) for _ in range(4)}.isdisjoint({weak})
        assert len(reasons) == 1
        for words in ("takes no more work (1 left)", "level 2 is below the minimum 3", "landlock", "allow_weak"):
            assert words in reasons[0]
        await pool.call(lose_the_sandbox, "no_landlock")
        with pytest.raises(SandboxError, match="no scoring process is left: sandbox level 2 is below the minimum 3"):
            await scored(pool)
        with pytest.raises(SandboxError, match="no scoring process is left"):
            await asyncio.gather(*(scored(pool) for _ in range(4)))

    try:
        asyncio.run(run())
    finally:
        pool.close()
    assert len(reasons) == 2


@pytest.mark.slow
@pytest.mark.ray
def test_a_ray_actor_whose_sandbox_falls_below_the_minimum_takes_no_more_work() -> None:
    reasons: list[str] = []
    remote.connect(2)
    try:
        config = ScorerConfig(GameSettings("repeated_rps", {"num_rounds": 10}), Limits())
        pool = remote.RayPool.start(config, 2, "test-pool", print)
        pool.roster.report = reasons.append

        async def run() -> None:
            weak = await pool.call(lose_the_sandbox, "no_landlock")
            assert all([(await pool.call(ScoringProcess.score, PAPER, TASK)).level >= 3 for _ in range(6)])
            assert await pool.call(pid) != weak
            assert len(reasons) == 1 and "level 2 is below the minimum 3" in reasons[0]

        asyncio.run(run())
    finally:
        remote.disconnect()


def test_an_evaluation_carries_the_lowest_level_that_its_matches_had() -> None:
    pool = pool_of(1, limits=Limits(min_level=1, allow_weak=True))

    async def run() -> tuple[int | None, int | None]:
        before = await scored(pool)
        await pool.call(lose_the_sandbox, "no_landlock")
        return before.level, (await scored(pool)).level

    try:
        before, after = asyncio.run(run())
    finally:
        pool.close()
    assert before is not None and before >= 3
    assert after == 2


def test_a_process_that_dies_is_replaced_and_its_work_done() -> None:
    pool = pool_of(1)

    async def run() -> None:
        first = await pool.call(pid)
        work = asyncio.create_task(scored(pool))
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        assert (await work).mean_return == 10
        assert await pool.call(pid) != first

    try:
        asyncio.run(run())
    finally:
        pool.close()


def test_scoring_processes_have_no_keys_of_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "CSRO_REDIS_URL"):
        monkeypatch.setenv(name, CANARY)
    pool = pool_of(2)
    try:
        family = [asyncio.run(pool.call(pid))]
        family += [child for each in family for child in children(each)]
        assert len(family) >= 2, "no fork server"
        for process in family:
            assert CANARY.encode() not in Path(f"/proc/{process}/environ").read_bytes()
    finally:
        pool.close()
    assert os.environ["OPENAI_API_KEY"] == CANARY


def children(of: int) -> list[int]:
    tasks = Path(f"/proc/{of}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_closing_does_not_wait_for_matches() -> None:
    pool = pool_of(1, limits=Limits(move_timeout_s=300, cpu_s=300))
    family: list[int] = []

    async def run() -> None:
        family.append(await pool.call(pid))
        work = asyncio.create_task(pool.call(ScoringProcess.score, STUCK, TASK))
        await asyncio.sleep(0.5)
        work.cancel()

    asyncio.run(run())
    family += children(family[0])
    pool.close()
    deadline = time.monotonic() + 60
    while any(map(running, family)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [process for process in family if running(process)]


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
def test_scorers_end_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    with started("run", "demo", "--out", str(tmp_path / "run"), "--set", "execution=local") as driver:
        wait_until(lambda: len(_scorers(driver.pid)) > 0, "a scorer")
        scorers = _scorers(driver.pid)
        driver.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in scorers), "the scorers' end")
    stop_store(tmp_path / "run")


def _scorers(driver: int) -> list[int]:
    return processes(driver, "multiprocessing.spawn")


def test_scoring_processes_of_different_runs_take_different_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    # Cores of no machine, with numbers of this process alone, so that nobody else claims them meanwhile.
    first, second, third = (3 * os.getpid() + 10_000 + i for i in range(3))
    far = {first, second, third}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: far)
    claims = [claim_core(0), claim_core(0), claim_core(0)]
    assert [core.number for core in claims] == [first, second, third]
    claims += [claim_core(0) for _ in range(4)]
    assert [core.number for core in claims[3:]] == [first, second, third, first], "shared evenly when all are taken"
    assert claims[1].claim is not None
    claims[1].claim.close()
    assert claim_core(0).number == second
    for core in claims:
        core.claim.close()  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_bots_match_in_a_ray_actor_is_repeated_whatever_the_actors_threads_draw() -> None:
    """As Ray's own threads do every few seconds, one here draws from libc's ``random()``, but all the time."""
    config = ScorerConfig(GameSettings("repeated_rps", {"num_rounds": 1000}), Limits())
    players, seeds = ["sunCrazybot", "randbot"], list(range(20))
    expected = ScoringProcess(config, 0).play(players, seeds)
    done = threading.Event()

    def draw() -> None:
        libc = ctypes.CDLL(None)
        while not done.is_set():
            libc.random()

    thread = threading.Thread(target=draw)
    actor = remote.ScorerActor(config, 0, "run")
    thread.start()
    try:
        found = actor.run(ScoringProcess.play, (players, seeds), {})
    finally:
        done.set()
        thread.join()
    assert found == expected
    assert actor._apart is not None
    actor._apart.close()
