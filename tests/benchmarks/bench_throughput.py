"""What keeping many calls in flight costs: the engine against a model that takes its time.

The model is a server on this machine, in a process of its own. Slots in use are counted there: the mean number of
requests it holds, over the number configured, from the first request to the last. CSRO_BENCH_CHILDREN sets the number
of children of each run (default 2560; 10000 shows that nothing grows), CSRO_BENCH_SLOTS the calls in flight (default
256). The time of a fixed loop is printed beside: processor times of two runs compare where it is equal.

``test_engine_slots_in_use`` has everything of a run between claim and commit (evolver, store, budget, recording, the
SDK) and a scorer that costs nothing. ``test_run_slots_in_use`` is a whole ``csro run``,
whose children play in the sandbox: there the processors' time for scoring is the limit, about 20 ms a child.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from evolve.archive.redis import RedisStore, open_store
from evolve.archive.server import stop_server
from evolve.candidate import Candidate
from evolve.match_scorer import stratified
from evolve.oracles.core import BestResponseTask
from evolve.oracles.evolver import Evolver, Search
from evolve.program import Program
from evolve.scoring import Evaluation, OpponentReturn, Scorer, ScoringTask
from games.registry import make_game
from tests.evolve.llm.loopback import Asked, Loopback
from tests.workers.runs import started
from workers.experiment import Experiment
from workers.models import shared_model
from workers.settings import load_experiment

CHILDREN = int(os.environ.get("CSRO_BENCH_CHILDREN", "2560"))
SLOTS = int(os.environ.get("CSRO_BENCH_SLOTS", "256"))
SETTINGS = (
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


def loop_s() -> float:
    """Processor time of a fixed loop."""
    before, x = time.process_time(), 0
    for i in range(4_000_000):
        x = (x * 31 + i) % 1_000_003
    return time.process_time() - before


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


class FreeScorer:
    """Scores by the number in a program's source."""

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        number = re.search(r"shift = (\d+)", program.source)
        score = int(number[1]) * 7919 % 1000 / 1000 if number else 0.0
        results = {key: OpponentReturn(score, 0.1, task.matches_per_opponent) for key in task.weights}
        returns = dict.fromkeys(task.weights, (score,) * task.matches_per_opponent)
        return replace(stratified(results, task), returns=returns, behaviour=f"moves-{score}", traits=(score, score))


async def search(store: RedisStore, experiment: Experiment, scorer: Scorer) -> None:
    """One search of the experiment's, from the game's seed program to its last child."""
    game = make_game(experiment.game.name, **experiment.game.parameters)
    seed = Program(game.brief.seed_program)
    scoring = ScoringTask({seed.id: seed}, {seed.id: 1.0}, experiment.oracle.matches, experiment.seed)
    task = BestResponseTask("br-000", scoring, (seed,), frozenset({seed.id}), 1, 2, experiment.oracle.fresh_matches)
    settings = experiment.archive_settings(game.spec.return_range)
    archive = store.archive(task.task_id, settings)
    archive.found([Candidate(seed, await scorer.score(seed, scoring))])
    of = Search(task, settings, experiment.prompts(), experiment.cascade())
    evolver = Evolver("bench", of, game, store, shared_model(experiment, store), scorer)
    await evolver.work(experiment.llm.in_flight, experiment.llm.queue())


def _engine(url: str, data_dir: Path, pipe: Connection) -> None:
    """The process that is measured; its end of the pipe tells when it begins and ends."""
    os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "any"}
    experiment = load_experiment("demo", SETTINGS)
    store = open_store("bench", data_dir)
    pipe.send("begin")
    try:
        asyncio.run(search(store, experiment, FreeScorer()))
        pipe.send("end")
    finally:
        store.close()
        stop_server(data_dir)


@dataclass(frozen=True)
class Measured:
    """A run looked at every second, and the times of its requests."""

    samples: list[Sample]
    arrivals: list[float]
    departures: list[float]

    def show(self, what: str, latency_s: float) -> None:
        """Prints the share of slots in use, and the run by quarters."""
        # Until the last is sent: after that no engine could fill its slots.
        first, last = min(self.arrivals), max(self.arrivals)
        used = mean_in_flight(self.arrivals, self.departures, first, last) / SLOTS
        rate = len(self.arrivals) / (max(self.departures) - first)
        print(f"\n{what}: {len(self.arrivals)} children, {SLOTS} slots, {latency_s:g} s a call, {rate:.1f} children/s")
        print(f"{used:.1%} of the slots in use (aim 97 %); a loop of 4 million steps takes {loop_s():.2f} s here now")
        print(f"{'answered':>10}{'memory MB':>12}{'CPU ms/child':>14}")
        working = [sample for sample in self.samples if 0 < sample.answered < CHILDREN]
        quarters = [working[i * (len(working) - 1) // 4] for i in range(5)]
        for before, after in pairwise(quarters):
            cpu_ms = (after.cpu_s - before.cpu_s) / max(1, after.answered - before.answered) * 1e3
            print(f"{after.answered:10}{after.rss_mb:12.0f}{cpu_ms:14.1f}")


def measure_engine(data_dir: Path, latency_s: float) -> Measured:
    samples = []
    ours, theirs = multiprocessing.Pipe()
    with model(latency_s) as (url, pipe):
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_engine, args=(url, data_dir, theirs))
        process.start()
        assert process.pid is not None
        assert ours.recv() == "begin"
        while not ours.poll(1) and process.is_alive():
            samples.append(look(process.pid, len(_times(pipe)[1])))
        assert ours.recv() == "end"
        process.join()
        return Measured(samples, *_times(pipe))


def measure_run(out: Path, latency_s: float) -> Measured:
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    samples = []
    with model(latency_s) as (url, pipe):
        environment = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "any"}
        with started("run", "demo", "--out", str(out), *words, env=environment) as process:
            while process.poll() is None and len(departures := _times(pipe)[1]) < CHILDREN:
                samples.append(look(process.pid, len(departures)))
                time.sleep(1)
            arrivals, departures = _times(pipe)
            assert process.poll() in (None, 0), process.communicate()[1]
    return Measured(samples, arrivals, departures)


def _times(pipe: Connection) -> tuple[list[float], list[float]]:
    pipe.send("times")
    times: tuple[list[float], list[float]] = pipe.recv()
    return times


@pytest.mark.parametrize("latency_s", [10.0, 1.0])
def test_engine_slots_in_use(tmp_path: Path, latency_s: float) -> None:
    measured = measure_engine(tmp_path, latency_s)
    assert len(measured.departures) == CHILDREN
    measured.show("engine", latency_s)


def test_run_slots_in_use(tmp_path: Path) -> None:
    measured = measure_run(tmp_path / "run", 10.0)
    assert len(measured.departures) >= CHILDREN
    measured.show("whole run", 10.0)
