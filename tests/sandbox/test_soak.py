"""Drills over many programs and many sudden deaths, scaled down for CI.

Full size: ``CSRO_SOAK_PROGRAMS=20000 CSRO_SOAK_KILLS=50 python -m pytest tests/sandbox/test_soak.py -s``
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from benign_corpus import PROGRAMS
from hostile_corpus import CORPUS

from games.repeated_rps import RepeatedRPS
from sandbox.faults import Fault
from sandbox.limits import Limits
from sandbox.referee import Referee

NUM_PROGRAMS = int(os.environ.get("CSRO_SOAK_PROGRAMS", "360"))
NUM_KILLS = int(os.environ.get("CSRO_SOAK_KILLS", "4"))
HERE = Path(__file__).parent
GAME = RepeatedRPS(num_rounds=20)
LIMITS = Limits(load_timeout_s=0.6, move_timeout_s=0.1, kill_grace_s=0.05, memory_bytes=64 << 20)
PATIENT = replace(LIMITS, load_timeout_s=20.0, move_timeout_s=10.0)
"""For honest programs: whatever the machine, none of them fails."""


def parent_and_state(pid: int) -> tuple[int, str]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), fields[0]


def descendants(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = parent_and_state(int(entry.name))[0]
        except OSError:
            continue
    found, frontier = set(), {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def alive(pid: int) -> bool:
    try:
        return parent_and_state(pid)[1] not in ("Z", "X")
    except OSError:
        return False


def footprint(pid: int) -> tuple[int, int]:
    """Open descriptors, and kilobytes of private memory."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), private


@pytest.mark.slow
def test_many_programs_leave_nothing_behind() -> None:
    quick = [p for p in CORPUS if p.group in ("files", "processes", "network", "exits", "protocol")]
    sources = [program.source for program in quick] + [p.source for p in CORPUS if p.group == "bombs"]
    hostile, honest = itertools.cycle(sources), itertools.cycle(PROGRAMS.values())
    random.seed(0)
    with Referee(LIMITS) as referee:
        zygotes = descendants(os.getpid())
        snapshots, laps = [], []
        lap = max(60, NUM_PROGRAMS // 6)
        started = time.perf_counter()
        for number in range(NUM_PROGRAMS):
            is_hostile = number % 3 == 0
            players = [next(hostile if is_hostile else honest), PROGRAMS["function"]]
            limits = LIMITS if is_hostile else PATIENT
            outcome = referee.play(GAME, players, seeds=[number], limits=limits)[0]
            assert is_hostile or not isinstance(outcome, Fault), outcome
            if (number + 1) % lap == 0:
                referee.play(GAME, [PROGRAMS["function"]] * 2, seeds=[1], limits=LIMITS)
                referee._running()._settle()  # the zygote has closed its ends of the idle children's pipes
                everyone = descendants(os.getpid())
                assert len(everyone) <= len(zygotes) + 2, "children that should be gone (two idle ones may wait)"
                assert all(parent_and_state(pid)[1] != "Z" for pid in everyone)
                snapshots.append([footprint(pid) for pid in (os.getpid(), *sorted(zygotes))])
                laps.append(time.perf_counter() - started)
        rates = [lap / (end - start) for start, end in itertools.pairwise([0.0, *laps])]
        print(f"\nprograms/s by lap: {', '.join(f'{rate:.0f}' for rate in rates)}; (fds, private kB): {snapshots[-1]}")
        for early, late in zip(snapshots[1], snapshots[-1], strict=True):
            assert late[0] == early[0], "descriptors"
            assert late[1] - early[1] < 3000 + 0.05 * early[1], "memory"


DRIVER = """
import sys
import cages
if sys.argv[1] != "none":
    cages.enter(sys.argv[1])
from games.repeated_rps import RepeatedRPS
from sandbox.limits import Limits
from sandbox.referee import Referee
spin = "def policy(o):\\n    while True: pass"
walk = "def policy(o): return o['round'] % 3"
with Referee(Limits(move_timeout_s=0.5)) as referee:
    print("ready", flush=True)
    while True:
        referee.play(RepeatedRPS(num_rounds=300), [walk, walk], seeds=range(32))
        referee.play(RepeatedRPS(num_rounds=300), [walk, spin], seeds=[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("cage", ["none", "unprivileged"])
def test_a_killed_referee_leaves_no_process(cage: str) -> None:
    rng = random.Random(7)
    for _ in range(NUM_KILLS):
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, cage],
            env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert driver.stdout is not None and driver.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, 0.8))
        family = descendants(driver.pid)
        assert family
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        driver.stdout.close()
        deadline = time.monotonic() + 20
        while any(map(alive, family)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not [pid for pid in family if alive(pid)]


@pytest.mark.slow
def test_a_killed_zygote_takes_its_children_along() -> None:
    with Referee(LIMITS) as referee:
        referee.play(GAME, [PROGRAMS["function"]] * 2, seeds=[1])
        referee._running()._settle()  # two idle children are there
        zygote = referee._running().pid
        family = {zygote} | descendants(zygote)
        assert len(family) >= 3
        os.kill(zygote, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while any(map(alive, family)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not [pid for pid in family if alive(pid)]
        assert not isinstance(referee.play(GAME, [PROGRAMS["function"]] * 2, seeds=[1])[0], Fault)
