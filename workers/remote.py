"""The same objects behind Ray: scorer and evolver actors, restarted when they die. The only module that imports ray.

Ray holds nothing durable. A killed scorer costs the matches it was playing, which are played again; a killed evolver
costs the lease of its proposals, which another claims, asking for completions that are already recorded.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RaySystemError, RayTaskError

from evolve.archive.redis import RedisStore
from evolve.llm.core import LLMError
from evolve.llm.providers import make_llm
from evolve.llm.recording import RecordedLLM
from evolve.oracles.evolver import Evolver, Search
from games.registry import make_game
from sandbox.faults import SandboxError
from workers.errors import RunFailedError
from workers.experiment import Experiment
from workers.pool import ATTEMPTS, P, PoolScorer, R, Work
from workers.scorer import ScorerConfig, ScoringProcess

PROVIDER_VARIABLES = (
    "CSRO_REDIS_URL",  # may hold a password; evolvers are handed the store itself
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
)
"""Keys and addresses of providers travel to evolver actors as arguments, and to no other process."""

_DEPTH = 2  # pieces of work under way per scorer: one played, one waiting, so that none idles between two
_RESTARTS = 20
_LOCAL_DEFAULTS = {
    "RAY_AUTH_MODE": "disabled",  # a loopback cluster of our own; token auth would write to the home directory
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill innocent actors; each program has its own memory limit
    "RAY_worker_niceness": "0",  # the run is what the user waits for
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Secrets:
    """Provider keys on their way to an evolver. Never printed."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self._values)})"

    def install(self) -> None:
        os.environ.update(self._values)


def connect(num_cpus: int) -> Secrets:
    """Joins the running Ray cluster, else starts one on this machine with ``num_cpus`` processors.

    Provider keys are kept out of the environment that Ray's processes inherit, and returned.
    Raises :class:`workers.errors.RunFailedError` with one line if Ray does not start.
    """
    with _without_secrets() as secrets:
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "csro"}
        try:
            if _cluster_runs():
                ray.init(address="auto", **common)
                return secrets
            for name, value in _LOCAL_DEFAULTS.items():
                os.environ.setdefault(name, value)
            ray.init(
                address="local", num_cpus=num_cpus, include_dashboard=False, object_store_memory=100_000_000, **common
            )
        except (RaySystemError, OSError, TimeoutError, RuntimeError) as error:
            raise RunFailedError(f"Ray did not start ({error}); try --set execution=local") from error
        return secrets


def _cluster_runs() -> bool:
    """Is there a cluster to join: one named by ``RAY_ADDRESS``, or started here with ``ray start``?

    Another run's private Ray is none: it would end with that run."""
    return bool(os.environ.get("RAY_ADDRESS")) or Path("/tmp/ray/ray_current_cluster").exists()


def disconnect() -> None:
    ray.shutdown()


@contextmanager
def _without_secrets() -> Iterator[Secrets]:
    held = {name: os.environ.pop(name) for name in PROVIDER_VARIABLES if name in os.environ}
    try:
        yield Secrets(held)
    finally:
        os.environ.update(held)


class ScorerActor:
    """A scoring process as a Ray actor."""

    def __init__(self, config: ScorerConfig, index: int, run_id: str) -> None:
        self._label = f"Scorer(run={run_id}, {index})"
        self._process = ScoringProcess(config, index)

    def __repr__(self) -> str:
        return self._label

    def run(self, work: Work[P, R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        return work(self._process, *args, **kwargs)

    def pid(self) -> int:
        return os.getpid()


class RayPool:
    """The :class:`workers.pool.ScorerPool` over scorer actors. Picklable: evolver actors use the same ones."""

    def __init__(self, actors: list[Any]) -> None:
        self._actors = actors
        self._in_flight = [0] * len(actors)
        self._room: asyncio.Semaphore | None = None

    @classmethod
    def start(cls, config: ScorerConfig, size: int, run_id: str) -> RayPool:
        actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=0)(ScorerActor)
        return cls(
            [
                actor.options(name=f"{run_id}/scorer-{i}-{uuid.uuid4().hex[:6]}").remote(config, i, run_id)
                for i in range(size)
            ]
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return RayPool, (self._actors,)

    @property
    def size(self) -> int:
        return len(self._actors)

    async def call(self, work: Work[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self._room is None:
            self._room = asyncio.Semaphore(_DEPTH * self.size)
        async with self._room:
            for attempt in range(ATTEMPTS):
                # After a death the work goes to another actor: the dead one may take a while to come back.
                chosen = min(range(self.size), key=lambda i: self._in_flight[i])
                self._in_flight[chosen] += 1
                try:
                    result: R = await self._actors[chosen].run.remote(work, args, kwargs)
                    return result
                except RayTaskError as error:
                    raise error.cause from None
                except RayActorError:
                    await asyncio.sleep(0.2 * 2**attempt)
                finally:
                    self._in_flight[chosen] -= 1
        raise SandboxError(f"scorer actors died {ATTEMPTS} times in a row on the same work")

    def close(self) -> None:
        for actor in self._actors:
            ray.kill(actor)


class EvolverActor:
    """An evolver as an async Ray actor: bound by the network, so it takes no processor."""

    def __init__(
        self, index: int, experiment: Experiment, store: RedisStore, pool: RayPool, secrets: Secrets
    ) -> None:
        secrets.install()
        self._index = index
        self._run_id = experiment.run_id
        self._game = make_game(experiment.game.name, **experiment.game.parameters)
        self._store = store
        inner = make_llm(experiment.llm.model, seed=experiment.seed, settings=experiment.llm.provider())
        self._llm = RecordedLLM(inner, self._store.completions, self._store.ledger(experiment.budget))
        self._scorer = PoolScorer(pool)
        self._evolver: Evolver | None = None

    def __repr__(self) -> str:
        return f"Evolver(run={self._run_id}, {self._index})"

    async def evolve(self, search: Search, slots: int) -> None:
        name = f"evolver-{self._index}-{uuid.uuid4().hex[:8]}"
        self._evolver = Evolver(name, search, self._game, self._store, self._llm, self._scorer)
        await self._evolver.work(slots)

    async def drain(self) -> None:
        if self._evolver is not None:
            self._evolver.drain()

    async def pid(self) -> int:
        return os.getpid()


class RayFleet:
    """Evolver actors that share the run's store, budget and scorers; started when a search first asks for them."""

    def __init__(self, experiment: Experiment, store: RedisStore, pool: RayPool, secrets: Secrets) -> None:
        self._store = store
        self._arguments = (experiment, store, pool, secrets)
        self._count = experiment.workers.evolvers
        self._run_id = experiment.run_id
        self._slots = -(-experiment.llm.in_flight // self._count)
        self._actors: list[Any] = []
        self._draining = False

    def _start(self) -> list[Any]:
        actor = ray.remote(
            num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=max(8, self._slots), max_pending_calls=-1
        )(EvolverActor)
        return [
            actor.options(name=f"{self._run_id}/evolver-{i}-{uuid.uuid4().hex[:6]}").remote(i, *self._arguments)
            for i in range(self._count)
        ]

    async def evolve(self, search: Search) -> bool:
        self._draining = False
        self._actors = self._actors or self._start()
        await asyncio.gather(*(self._keep_evolving(actor, search) for actor in self._actors))
        return self._store.archive(search.task.task_id, search.archive).progress().done

    async def _keep_evolving(self, actor: Any, search: Search) -> None:
        for _ in range(_RESTARTS):
            try:
                if self._draining:
                    return None
                return await actor.evolve.remote(search, self._slots)  # type: ignore[no-any-return]
            except RayTaskError as error:
                raise error.cause from None  # the error itself, not its traceback in another process
            except RayActorError:
                await asyncio.sleep(0.5)
        raise LLMError(f"evolver actors died {_RESTARTS} times; see the Ray logs")

    async def drain(self) -> None:
        self._draining = True
        for actor in self._actors:
            actor.drain.remote()

    def close(self) -> None:
        for actor in self._actors:
            ray.kill(actor)


def cluster_cpus() -> int:
    return int(ray.cluster_resources().get("CPU", 1))
