"""What isolation costs, side by side with play that has none, in one run on one core.

Times are medians of interleaved repetitions, and each ratio is the median of the repetitions' own ratios, whose two
sides were measured one right after the other: a machine that others use changes its speed from minute to minute, and a
best time of one side may come from a better minute than that of the other. The assertions are loose; the aims stand in
the tables.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import pytest

from games.core import ActionHistory
from games.repeated_rps import RepeatedRPS
from games.seeds import match_seed, seat_seed
from sandbox.limits import Limits
from sandbox.lockstep import MatchRecord
from sandbox.referee import Referee

ROUNDS = 1000
LIMITS = Limits(cpu_s=60)
TRIVIAL = """
class Policy:
    def __init__(self, player, seed):
        self.shift = seed % 3
    def act(self, observation):
        theirs = observation["opponent_actions"]
        return (theirs[-1] + self.shift) % 3 if theirs else self.shift
"""
MARKOV = """
import random
class Policy:
    '''A mixture of Markov experts of growing order, with decayed counts and scores.'''
    def __init__(self, player, seed):
        self.rng = random.Random(seed)
        self.tables = [{} for _ in range(EXPERTS)]
        self.scores = [0.0] * EXPERTS
        self.keys = [None] * EXPERTS
        self.guesses = [0] * EXPERTS
    def act(self, observation):
        mine, theirs = observation["my_actions"], observation["opponent_actions"]
        if not theirs:
            return self.rng.randrange(3)
        last, best, best_score = theirs[-1], 0, -1e9
        for k in range(EXPERTS):
            if self.keys[k] is not None:
                row = self.tables[k].setdefault(self.keys[k], [1.0, 1.0, 1.0])
                for j in range(3):
                    row[j] *= 0.97
                row[last] += 1.0
                self.scores[k] = 0.95 * self.scores[k] + (1.0 if self.guesses[k] == last else -0.5)
            key = 0
            for i in range(1, k % 3 + 2):
                if i <= len(theirs):
                    key = key * 9 + theirs[-i] * 3 + mine[-i]
            self.keys[k] = key
            row = self.tables[k].get(key)
            self.guesses[k] = row.index(max(row)) if row else self.rng.randrange(3)
            if self.scores[k] > best_score:
                best, best_score = self.guesses[k], self.scores[k]
        return (best + 1) % 3
"""
CELL_S = float(os.environ.get("CSRO_BENCH_CELL_S", "8"))
"""Seconds of measuring behind each row, in 5 to 25 repetitions, whatever these take."""

STRETCH_S = 2.0
"""Of play by one worker or by two at once: several batches."""

COSTS_US = (1, 5, 10, 50)
"""Of one move in process at N = 1: what the aims are stated for."""


@dataclass(frozen=True)
class Lockstep(RepeatedRPS):
    """Repeated rock-paper-scissors, ``together`` matches at a time."""

    together: int = 32

    @property
    def spec(self):
        return replace(super().spec, lockstep=self.together)


@pytest.fixture
def core() -> int:
    """Pins this process, and with it all it starts, to the last core it may use."""
    before = os.sched_getaffinity(0)
    yield max(before)
    os.sched_setaffinity(0, before)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_process(source: str, seeds: Sequence[int], num_rounds: int) -> None:
    """A pair without any isolation: N matches interleaved round by round in this process."""
    rows = []
    classes = []
    for _ in range(2):
        namespace: dict[str, object] = {"__name__": "policy"}
        exec(compile(source, "<policy>", "exec"), namespace)
        classes.append(namespace["Policy"])
    for seed in seeds:
        histories = [ActionHistory(num_rounds) for _ in range(2)]
        acts = [classes[seat](seat, seat_seed(seed, seat)).act for seat in range(2)]
        views = [h.observation for h in histories]
        rows.append((*acts, *views, *(h.extend for h in histories)))
    for _ in range(num_rounds):
        for act0, act1, view0, view1, extend0, extend1 in rows:
            first, second = act0(view0), act1(view1)
            extend0(first, second)
            extend1(second, first)


def experts(count: int) -> str:
    return MARKOV.replace("EXPERTS", str(count))


def moves_us(sources: Sequence[str]) -> Iterator[float]:
    """Microseconds of processor time of one move of each, alone in this process, its loading left out."""

    def spent(source: str, num_rounds: int) -> float:
        start = time.process_time()
        in_process(source, [1], num_rounds)
        return time.process_time() - start

    rows = [[[spent(source, 1), spent(source, ROUNDS)] for source in sources] for _ in range(25)]
    for runs in zip(*rows, strict=True):
        load, all_of_it = map(min, zip(*runs, strict=True))
        yield (all_of_it - load) * 1e6 / (2 * (ROUNDS - 1))


def policy_of(cost_us: int) -> tuple[str, str]:
    """Name and text of a policy whose move takes about ``cost_us`` on this machine: as many experts as that gives."""
    one, nine = moves_us([experts(1), experts(9)])
    count = 1 + round((cost_us - one) * 8 / (nine - one))
    return (f"{count} experts", experts(count)) if count > 0 else ("trivial", TRIVIAL)


def isolated(referee: Referee, source: str, seeds: Sequence[int], num_rounds: int) -> None:
    outcomes = referee.play(Lockstep(num_rounds, len(seeds)), [source, source], seeds=seeds, limits=LIMITS)
    assert all(isinstance(outcome, MatchRecord) for outcome in outcomes)


def compared(referee: Referee, source: str, seeds: Sequence[int], rounds: int) -> Iterator[float]:
    """Medians: seconds in process and isolated, their ratio, seconds all in and one match after the other, theirs."""
    rows = []
    began = time.perf_counter()
    while len(rows) < 5 or (len(rows) < 25 and time.perf_counter() - began < CELL_S):
        plain = seconds(lambda: in_process(source, seeds, rounds)) - seconds(lambda: in_process(source, seeds, 1))
        start = seconds(lambda: isolated(referee, source, seeds, 1))
        all_in = seconds(lambda: isolated(referee, source, seeds, rounds))
        alone = seconds(lambda: [in_process(source, [seed], rounds) for seed in seeds])
        steady = max(all_in - start, all_in / 100)  # whatever a hiccup of the start makes of it
        rows.append((plain, steady, plain / steady, all_in, alone, alone / all_in))
    return map(median, zip(*rows, strict=True))


def test_start_to_first_action(core: int) -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    numpy_start = [sys.executable, "-c", "import numpy"]
    with Referee(LIMITS, core=core) as referee:
        idle = referee._running()
        times: dict[str, list[float]] = {"python -c 'import numpy'": [], "fresh child": [], "pre-forked child": []}
        for _ in range(12):
            times["python -c 'import numpy'"].append(
                seconds(lambda: subprocess.run(numpy_start, env=environment, check=True))
            )
            while idle._idle:
                idle.kill(idle._idle.popleft())
            times["fresh child"].append(seconds(lambda: isolated(referee, TRIVIAL, [1], 1)) / 2)
            idle._settle()
            for child in idle._idle:
                assert child.pid
            time.sleep(0.05)  # the idle children close their jails meanwhile
            times["pre-forked child"].append(seconds(lambda: isolated(referee, TRIVIAL, [1], 1)) / 2)
    numpy_s = min(times["python -c 'import numpy'"])
    print(f"\nstart to first action, one program (aims: fresh <= 1/15, pre-forked <= 1/50)\n{'':28}{'ms':>8}{'1/':>7}")
    for name, values in times.items():
        print(f"{name:28}{min(values) * 1e3:8.2f}{numpy_s / min(values):7.0f}")
    assert min(times["fresh child"]) < numpy_s / 5


@pytest.mark.parametrize("cost_us", COSTS_US)
def test_isolated_pair_against_in_process_play(core: int, cost_us: int) -> None:
    name, source = policy_of(cost_us)
    rounds = ROUNDS if cost_us < 50 else 300
    header = f"{'N':>4}{'in process':>12}{'isolated':>10}{'ratio':>7}{'all in':>9}{'sequential':>12}{'ratio':>7}"
    aim = "aim: ratios >= 90 % at N >= 32 from 5 us on"
    print(f"\n{cost_us} us ({name}): microseconds a move, pair on one core ({aim})\n{header}")
    scale = 1e6 / (2 * rounds)
    with Referee(LIMITS, core=core) as referee:
        for count in (1, 8, 32, 64):
            seeds = [match_seed(1, k) for k in range(count)]
            plain, steady, ratio, all_in, alone, whole = compared(referee, source, seeds, rounds)
            print(
                f"{count:4}{plain / count * scale:12.2f}{steady / count * scale:10.2f}{ratio:7.0%}"
                f"{all_in / count * scale:9.2f}{alone / count * scale:12.2f}{whole:7.0%}"
            )


def _worker(core: int, go: object, done: object) -> None:
    with Referee(LIMITS, core=core) as referee:
        seeds = [match_seed(2, k) for k in range(32)]
        source = experts(2)
        isolated(referee, source, seeds, 10)
        done.put(0.0)
        while (how := go.get()) is not None:
            play = in_process if how == "in process" else partial(isolated, referee)
            began = time.perf_counter()
            ends = [0.0]
            while ends[-1] < STRETCH_S or len(ends) < 3:
                play(source, seeds, ROUNDS)
                ends.append(time.perf_counter() - began)
            whole = len(ends) - 2  # the last is left out: the other worker may be through before it ends
            done.put(whole * 2 * len(seeds) * ROUNDS / ends[whole])


def test_two_workers_on_two_cores() -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores")
    context = multiprocessing.get_context("spawn")
    workers = []
    for core in cores[:2]:
        go, done = context.Queue(), context.Queue()
        process = context.Process(target=_worker, args=(core, go, done))
        process.start()
        done.get()
        workers.append((process, go, done))

    def play(how: str, using: list[tuple]) -> list[float]:
        for _, go, _ in using:
            go.put(how)
        return [done.get() for _, _, done in using]

    def times_as_fast(how: str) -> tuple[float, float]:
        """Moves a second of one worker, the mean of both; and of two at once over that."""
        one = sum(play(how, [worker])[0] for worker in workers) / len(workers)
        return one, sum(play(how, workers)) / one

    rows = [(*times_as_fast("isolated"), times_as_fast("in process")[1]) for _ in range(9)]
    for process, go, _ in workers:
        go.put(None)
        process.join()
    one, speedup, there_is = (median(column) for column in zip(*rows, strict=True))
    print(
        f"\none worker {one:,.0f} moves/s, two {speedup * one:,.0f}: {speedup:.2f} times (aim 1.9, "
        f"given two free cores: two processes without isolation are {there_is:.2f} times as fast as one here now)"
    )
    assert speedup > 1.0
