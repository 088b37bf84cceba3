"""What keeping many calls in flight costs: the engine against a model that takes its time.

The model is a server on this machine, in a process of its own. Slots in use are counted there: the mean number of
requests it holds, over the number configured, from the first request to the last. CSRO_BENCH_CHILDREN sets the number
of children of each run (default 2560; 10000 shows that nothing grows), CSRO_BENCH_SLOTS the calls in flight (default
256), CSRO_BENCH_EVOLVERS the evolvers that share them in the engine's test (``workers.evolvers``; default 2). The time
of a fixed loop is printed beside: processor times of two runs compare where it is equal.

``test_engine_slots_in_use`` has everything of a run between claim and commit (evolvers, store, budget, recording, the
SDK) and a scorer that costs nothing; right after it the SDK alone, over the same connections in as many processes,
shows what this machine can reach at all. ``test_run_slots_in_use`` is a whole ``csro run``, whose children play in the
sandbox: there the processors' time for scoring is the limit, about 20 ms a child.
"""

from __future__ import annotations

import asyncio
import json
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
from typing import Any

import httpx2
import openai
import pytest

from evolve.archive.redis import RedisStore, open_store
from evolve.archive.server import stop_server
from evolve.candidate import Candidate
from evolve.llm.transport import http_client
from evolve.match_scorer import stratified
from evolve.oracles.core import BestResponseTask
from evolve.oracles.evolver import Evolver, Search
from evolve.program import Program
from evolve.scoring import Evaluation, OpponentReturn, ScoringTask
from games.registry import make_game
from tests.workers.runs import started
from workers.experiment import Experiment
from workers.models import shared_model
from workers.settings import load_experiment

CHILDREN = int(os.environ.get("CSRO_BENCH_CHILDREN", "2560"))
SLOTS = int(os.environ.get("CSRO_BENCH_SLOTS", "256"))
EVOLVERS = int(os.environ.get("CSRO_BENCH_EVOLVERS", "2"))
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


class StubModel(asyncio.Protocol):
    """One connection to a model that answers each request after ``latency_s``.

    Only what a client that keeps its connections sends and needs: whatever it cost more, the engine would seem to."""

    answered = 0

    def __init__(self, latency_s: float, arrivals: list[float], departures: list[float]) -> None:
        self._latency_s = latency_s
        self._arrivals, self._departures = arrivals, departures
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if not found or length is None or len(body) < int(length[1]):
            return
        self._received = b""
        self._arrivals.append(time.monotonic())
        asyncio.get_running_loop().call_later(self._latency_s, self._answer)

    def _answer(self) -> None:
        StubModel.answered += 1
        message = {"role": "assistant", "content": _ANSWER.format(number=StubModel.answered)}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1500, "completion_tokens": 60}}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        self._departures.append(time.monotonic())


def _serve(pipe: Connection, latency_s: float) -> None:
    """Serves until told to stop; tells on request how many it answered, and the times of all requests."""
    asyncio.run(_answer_all(pipe, latency_s))


async def _answer_all(pipe: Connection, latency_s: float) -> None:
    arrivals: list[float] = []
    departures: list[float] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StubModel(latency_s, arrivals, departures), "127.0.0.1", backlog=SLOTS)
    stopped = asyncio.Event()

    def told() -> None:
        try:
            word = pipe.recv()
        except EOFError:  # whoever measures is gone
            word = "stop"
        if word == "answered":
            pipe.send(len(departures))
        elif word == "times":
            pipe.send((arrivals, departures))
        else:
            loop.remove_reader(pipe.fileno())
            stopped.set()

    loop.add_reader(pipe.fileno(), told)
    pipe.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    await stopped.wait()


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
    """One look at a run: requests answered, the largest of its processes and the processor time of all of them."""

    at_s: float
    answered: int
    rss_mb: float
    cpu_s: float


def look(root: int, answered: int, store: Path) -> Sample:
    """``root`` is the process that all others of the run come from but its server, whose data are in ``store``."""
    server = store / "server.pid"
    pids, cpu_s = _tree({root, *([int(server.read_text())] if server.exists() else [])})
    return Sample(time.monotonic(), answered, max(map(_rss_mb, pids)), cpu_s)


def _rss_mb(pid: int) -> float:
    try:
        rss_kb = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(rss_kb[1]) / 1024 if rss_kb else 0.0


def loop_s() -> float:
    """Processor time of a fixed loop."""
    before, x = time.process_time(), 0
    for i in range(4_000_000):
        x = (x * 31 + i) % 1_000_003
    return time.process_time() - before


def _tree(roots: set[int]) -> tuple[set[int], float]:
    """Processes and all below them, and their processor time in seconds, those that ended included."""
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
    below = set(roots)
    while grown := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= grown
    return below, sum(spent[pid] for pid in below) / _TICKS_PER_S


class FreeScorer:
    """Scores by the number in a program's source."""

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        number = re.search(r"shift = (\d+)", program.source)
        score = int(number[1]) * 7919 % 1000 / 1000 if number else 0.0
        results = {key: OpponentReturn(score, 0.1, task.matches_per_opponent) for key in task.weights}
        returns = dict.fromkeys(task.weights, (score,) * task.matches_per_opponent)
        return replace(stratified(results, task), returns=returns, behaviour=f"moves-{score}", traits=(score, score))


def begun(store: RedisStore, experiment: Experiment) -> Search:
    """A search from the game's seed program."""
    game = make_game(experiment.game.name, **experiment.game.parameters)
    seed = Program(game.brief.seed_program)
    scoring = ScoringTask({seed.id: seed}, {seed.id: 1.0}, experiment.oracle.matches, experiment.seed)
    task = BestResponseTask("br-000", scoring, (seed,), frozenset({seed.id}), 1, 2, experiment.oracle.fresh_matches)
    settings = experiment.archive_settings(game.spec.return_range)
    founder = asyncio.run(FreeScorer().score(seed, scoring))
    store.archive(task.task_id, settings).found([Candidate(seed, founder)])
    return Search(task, settings, experiment.prompts(), experiment.cascade())


def _evolve(store: RedisStore, experiment: Experiment, searched: Search, index: int) -> None:
    """One evolver with its share of the slots, as in a run with several."""
    game = make_game(experiment.game.name, **experiment.game.parameters)
    evolver = Evolver(f"bench-{index}", searched, game, store, shared_model(experiment, store), FreeScorer())
    slots = -(-experiment.llm.in_flight // EVOLVERS)
    asyncio.run(evolver.work(slots, slots))
    store.close()


def _engine(url: str, data_dir: Path, pipe: Connection) -> None:
    """The process that is measured, with the evolvers it starts; its end of the pipe tells when it begins and ends."""
    os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "any"}
    experiment = load_experiment("demo", SETTINGS)
    store = open_store("bench", data_dir)
    searched = begun(store, experiment)
    context = multiprocessing.get_context("spawn")
    evolvers = [context.Process(target=_evolve, args=(store, experiment, searched, i)) for i in range(EVOLVERS)]
    pipe.send("begin")
    try:
        for evolver in evolvers:
            evolver.start()
        for evolver in evolvers:
            evolver.join()
            assert evolver.exitcode == 0
        pipe.send("end")
    finally:
        store.close()
        stop_server(data_dir)


def _ask_alone(url: str, left: Any) -> None:
    """Requests of an evolver's size by its share of the slots, and nothing else, until none of all are ``left``."""
    asyncio.run(_asked(url, left))


async def _asked(url: str, left: Any) -> None:
    client = openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0, timeout=None, http_client=http_client())
    body = {"model": "stub", "max_completion_tokens": 500, "messages": [{"role": "user", "content": "x" * 6000}]}

    def one_more() -> bool:
        with left.get_lock():
            left.value -= 1
            return left.value >= 0

    async def slot() -> None:
        while one_more():
            await client.post("/chat/completions", body=body, cast_to=httpx2.Response)

    await asyncio.gather(*(slot() for _ in range(-(-SLOTS // EVOLVERS))))


@dataclass(frozen=True)
class Measured:
    """A run looked at every second, and the times of its requests."""

    samples: list[Sample]
    arrivals: list[float]
    departures: list[float]

    def slots_used(self) -> float:
        """Their share until the last request is sent: after that no engine could fill them."""
        return mean_in_flight(self.arrivals, self.departures, min(self.arrivals), max(self.arrivals)) / SLOTS

    def show(self, what: str, latency_s: float, evolvers: int) -> None:
        """Prints the share of slots in use, and the run by quarters."""
        used, first = self.slots_used(), min(self.arrivals)
        rate = len(self.arrivals) / (max(self.departures) - first)
        slots = f"{SLOTS} slots of {evolvers} evolver{'s' * (evolvers > 1)}"
        print(f"\n{what}: {len(self.arrivals)} children, {slots}, {latency_s:g} s a call, {rate:.1f} children/s")
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
        theirs.close()
        assert process.pid is not None
        assert ours.recv() == "begin"
        while not ours.poll(1) and process.is_alive():
            samples.append(look(process.pid, _answered(pipe), data_dir))
        assert ours.recv() == "end"
        process.join()
        return Measured(samples, *_times(pipe))


def measure_sdk(latency_s: float) -> Measured:
    with model(latency_s) as (url, pipe):
        context = multiprocessing.get_context("spawn")
        left = context.Value("i", CHILDREN)
        processes = [context.Process(target=_ask_alone, args=(url, left)) for _ in range(EVOLVERS)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
        return Measured([], *_times(pipe))


def measure_run(out: Path, latency_s: float) -> Measured:
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    samples = []
    with model(latency_s) as (url, pipe):
        environment = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "any"}
        with started("run", "demo", "--out", str(out), *words, env=environment) as process:
            while process.poll() is None and (answered := _answered(pipe)) < CHILDREN:
                samples.append(look(process.pid, answered, out / "store"))
                time.sleep(1)
            arrivals, departures = _times(pipe)
            assert process.poll() in (None, 0), process.communicate()[1]
    return Measured(samples, arrivals, departures)


def _answered(pipe: Connection) -> int:
    pipe.send("answered")
    answered: int = pipe.recv()
    return answered


def _times(pipe: Connection) -> tuple[list[float], list[float]]:
    pipe.send("times")
    times: tuple[list[float], list[float]] = pipe.recv()
    return times


@pytest.mark.parametrize("latency_s", [10.0, 1.0])
def test_engine_slots_in_use(tmp_path: Path, latency_s: float) -> None:
    measured = measure_engine(tmp_path, latency_s)
    assert len(measured.departures) == CHILDREN
    measured.show("engine", latency_s, EVOLVERS)
    print(f"the SDK alone, right after: {measure_sdk(latency_s).slots_used():.1%} of the slots")


def test_run_slots_in_use(tmp_path: Path) -> None:
    measured = measure_run(tmp_path / "run", 10.0)
    assert len(measured.departures) >= CHILDREN
    measured.show("whole run", 10.0, 1)
