"""What keeping many calls in flight costs: whole ``csro run`` processes against a model that takes its time.

The model is a server on this machine, in a process of its own. Slots in use are counted there: the mean number of
requests it holds, over the number configured. CSRO_BENCH_CHILDREN sets the number of children of each run (default
1024; 10000 shows that nothing grows), CSRO_BENCH_SLOTS the calls in flight (default 256).
"""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.evolve.llm.loopback import Asked, Loopback
from tests.workers.runs import started

CHILDREN = int(os.environ.get("CSRO_BENCH_CHILDREN", "1024"))
SLOTS = int(os.environ.get("CSRO_BENCH_SLOTS", "256"))
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ANSWER = """One more.

```python
class Policy:
    def __init__(self, player, seed):
        self.shift = {number}
    def act(self, observation):
        return (len(observation["my_actions"]) + self.shift) % 3
```
"""


async def _numbered(asked: Asked) -> str:
    _numbered.count += 1  # type: ignore[attr-defined]
    return _ANSWER.format(number=_numbered.count)  # type: ignore[attr-defined]


def _serve(pipe: Connection, latency_s: float) -> None:
    """Serves until told to stop; answers every word in the pipe with the times of all requests so far."""
    _numbered.count = 0  # type: ignore[attr-defined]
    with Loopback(_numbered, latency_s=latency_s) as server:
        pipe.send(server.openai_url)
        while pipe.recv() != "stop":
            pipe.send((list(server.arrivals), list(server.departures)))


@contextmanager
def model(latency_s: float) -> Iterator[tuple[str, Connection]]:
    """The server's address, and the pipe to ask it for its times."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, latency_s), daemon=True)
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        ours.send("stop")
        process.join(30)


def mean_in_flight(arrivals: list[float], departures: list[float], start: float, end: float) -> float:
    """Requests the server held on average between two moments."""

    def held(times: list[float]) -> float:
        return sum(end - max(start, t) for t in times if t < end)

    return (held(arrivals) - held(departures)) / (end - start)


@dataclass(frozen=True)
class Sample:
    """One look at a run: requests answered, and the driver's own memory and the processor time of all its processes."""

    at_s: float
    answered: int
    rss_mb: float
    cpu_s: float


def look(pid: int, answered: int) -> Sample:
    rss_kb = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert rss_kb is not None
    return Sample(time.monotonic(), answered, int(rss_kb[1]) / 1024, _tree_cpu_s(pid))


def _tree_cpu_s(root: int) -> float:
    """Of a process and all below it, those that ended included."""
    parents: dict[int, int] = {}
    spent: Counter[int] = Counter()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        spent[int(entry.name)] = sum(map(int, fields[11:15]))  # own and reaped children's, user and system
    below = {root}
    while grown := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= grown
    return sum(spent[pid] for pid in below) / _TICKS_PER_S


def run(out: Path, latency_s: float) -> tuple[list[Sample], list[float], list[float]]:
    """One search of :data:`CHILDREN` children, looked at every second; and the times of its requests."""
    settings = (
        "game.num_rounds=4",
        "execution=local",
        "psro.iterations=1",
        "psro.payoff_matches=2",
        "oracle.matches=2",
        "oracle.fresh_matches=2",
        "oracle.audit_share=0",
        f"archive.proposals={CHILDREN}",
        "evaluation.matches=2",
        "llm.model=openai:stub",
        f"llm.in_flight={SLOTS}",
        "llm.max_output_tokens=500",
    )
    words = [word for setting in settings for word in ("--set", setting)]
    samples = []
    with model(latency_s) as (url, pipe):
        environment = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "any"}
        with started("run", "demo", "--out", str(out), *words, env=environment) as process:
            while process.poll() is None and len(departures := _times(pipe)[1]) < CHILDREN:
                samples.append(look(process.pid, len(departures)))
                time.sleep(1)
            arrivals, departures = _times(pipe)
            assert process.poll() in (None, 0), process.communicate()[1]
    return samples, arrivals, departures


def _times(pipe: Connection) -> tuple[list[float], list[float]]:
    pipe.send("times")
    times: tuple[list[float], list[float]] = pipe.recv()
    return times


@pytest.mark.parametrize("latency_s", [10.0, 1.0])
def test_slots_in_use(tmp_path: Path, latency_s: float) -> None:
    samples, arrivals, departures = run(tmp_path / "run", latency_s)
    assert len(departures) >= CHILDREN
    # From the first request until the last is sent: after that no engine could fill its slots.
    used = mean_in_flight(arrivals, departures, min(arrivals), max(arrivals)) / SLOTS
    working = [sample for sample in samples if 0 < sample.answered < CHILDREN]
    rate = len(arrivals) / (max(departures) - min(arrivals))
    print(
        f"\n{CHILDREN} children, {SLOTS} slots, {latency_s:g} s a call: {used:.1%} of the slots in use (aim 97 %), "
        f"{rate:.1f} children/s\n{'answered':>10}{'memory MB':>12}{'CPU ms/child':>14}"
    )
    quarters = [working[i * (len(working) - 1) // 4] for i in range(5)]
    for before, after in pairwise(quarters):
        cpu_ms = (after.cpu_s - before.cpu_s) / max(1, after.answered - before.answered) * 1e3
        print(f"{after.answered:10}{after.rss_mb:12.0f}{cpu_ms:14.1f}")
    assert used > 0.5
