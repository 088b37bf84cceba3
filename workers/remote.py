"""The same objects behind Ray: scorer and evolver actors, restarted when they die.

Ray holds nothing durable. A killed scorer costs the matches it was playing, which are played again; a killed evolver
costs the lease of its proposals, which another claims, asking for completions that are already recorded.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RaySystemError, RayTaskError

from evolve.archive.redis import RedisStore
from evolve.llm.core import LLMError
from evolve.oracles.evolver import Evolver, Search
from games.registry import make_game
from sandbox.faults import SandboxError
from workers.deaths import Deaths
from workers.errors import RunFailedError
from workers.experiment import Experiment
from workers.models import shared_model
from workers.pool import ATTEMPTS, P, PoolScorer, R, Work, Worker
from workers.roster import Roster, into, to_stderr
from workers.scorer import ScorerConfig, ScoringProcess
from workers.secrets import Secrets, forget, withheld

WORKER_RESOURCE = "csro_worker"
"""Machines that offer this custom resource, and no others where any does, get drivers, evolvers and scorers: a head
that may fail carries none of them."""

_SHARE = 0.001  # of the resource, per process: it says where, not how many
_INIT_ERRORS = (RaySystemError, OSError, TimeoutError, RuntimeError, ValueError)
_WAIT_S = 10.0
_GATHER_S = 20.0
_DEPTH = 2  # pieces of work under way per scorer: one played, one waiting, so that none idles between two
_SHORT_LIFE_S = 10.0
_LOCAL_DEFAULTS = {
    "RAY_AUTH_MODE": "disabled",  # a loopback cluster of our own; token auth would write to the home directory
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill innocent actors; each program has its own memory limit
    "RAY_worker_niceness": "0",  # the run is what the user waits for
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def connect(num_cpus: int, dashboard: bool = False) -> Secrets:
    """Joins the running Ray cluster, else starts one on this machine with ``num_cpus`` processors, and its dashboard on
    request.

    Provider keys are kept out of the environment that Ray's processes inherit, and returned.
    Raises :class:`workers.errors.RunFailedError` with one line if Ray does not start or the cluster does not answer.
    """
    with withheld() as secrets:
        if cluster_runs():
            where = os.environ.get("RAY_ADDRESS", "this machine")
            _init(
                f"the Ray cluster at {where} does not take us ({{}}); check RAY_ADDRESS, or unset it for a Ray of this "
                "run's own",
                address="auto",
            )
            return secrets
        for name, value in _LOCAL_DEFAULTS.items():
            os.environ.setdefault(name, value)
        _init(
            "Ray did not start ({}); is the machine overloaded? try again, or --set execution=local",
            address="local",
            num_cpus=num_cpus,
            include_dashboard=dashboard,
            object_store_memory=100_000_000,
        )
        return secrets


def _init(told: str, **options: Any) -> None:
    """``ray.init``; ``told`` is the line for its failures, with their reason in place of the braces."""
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", namespace="csro", **options)
    except Exception as error:
        # Beside errors of its own Ray raises plain ``Exception``, when its processes do not come up in time.
        if not isinstance(error, _INIT_ERRORS) and type(error) is not Exception:
            raise
        ray.shutdown()
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunFailedError(told.format(reason)) from error


def cluster_runs() -> bool:
    """Is there a cluster to join: one named by ``RAY_ADDRESS``, or started here with ``ray start``?

    Another run's private Ray is none: it would end with that run."""
    return bool(os.environ.get("RAY_ADDRESS")) or Path("/tmp/ray/ray_current_cluster").exists()


def disconnect() -> None:
    ray.shutdown()


def dashboard_url() -> str | None:
    """Of the Ray we are connected to."""
    address = ray.worker.global_worker.node.address_info.get("webui_url") if ray.is_initialized() else None
    return f"http://{address}" if address else None


class ScorerActor:
    """A scoring process as a Ray actor."""

    def __init__(self, config: ScorerConfig, index: int, run_id: str) -> None:
        forget()
        self._label = f"Scorer(run={run_id}, {index})"
        self._arguments = (config, index)
        self._process = ScoringProcess(config, index)
        self._apart: Worker | None = None

    def __repr__(self) -> str:
        return self._label

    def run(self, work: Work[P, R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        if work is not ScoringProcess.play:
            return work(self._process, *args, **kwargs)
        # Bots draw from libc's random(), and so do threads of Ray's in this process, every few seconds: a match in
        # which both did could not be repeated. A process without Ray has the stream to itself.
        self._apart = self._apart or Worker(*self._arguments)
        try:
            return self._apart.submit(work, *args, **kwargs).result()
        except BrokenProcessPool:
            os._exit(1)  # as if this process itself had died: the work goes to another

    def shortfall(self, min_level: int) -> str:
        """What this machine's sandbox lacks to ``min_level``, in one line; empty when nothing."""
        try:
            found = self._process.isolation().shortfall(min_level)
        except SandboxError as error:
            found = str(error)
        return f"{os.uname().nodename}: {found}" if found else ""


class RayPool:
    """The :class:`workers.pool.ScorerPool` over scorer actors. Picklable: evolver actors use the same ones."""

    def __init__(self, actors: list[Any], report: Callable[[str], None] = to_stderr) -> None:
        self._actors = actors
        self.roster = Roster(len(actors), _DEPTH, report)

    @classmethod
    def start(cls, config: ScorerConfig, size: int, run_id: str, say: Callable[[str], None]) -> RayPool:
        """Up to ``size`` scorers, at least one: on a cluster that others use too, as many as find a free processor.

        Raises :class:`SandboxError` if a machine's sandbox is weaker than the limits demand."""
        actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=0)(ScorerActor)
        actors = [
            actor.options(name=f"{run_id}/scorer-{i}-{uuid.uuid4().hex[:6]}", **_placement()).remote(config, i, run_id)
            for i in range(size)
        ]
        checks = {each.shortfall.remote(config.limits.min_level): each for each in actors}
        try:
            ready = _first_ready(list(checks), say)
            for shortfall in filter(None, ray.get(ready)):
                if not config.limits.allow_weak:
                    raise SandboxError(shortfall)
                say(f"WEAK SANDBOX, allowed by sandbox.allow_weak: {shortfall}")
        except RayTaskError as error:
            raise error.cause from None
        for check, each in checks.items():
            if check not in ready:
                ray.kill(each)
        if len(ready) < size:
            say(f"{len(ready)} scorers of {size} found a free processor; the run goes on with these")
        return cls([each for check, each in checks.items() if check in ready], say)

    def __reduce__(self) -> tuple[Any, ...]:
        return RayPool, (self._actors,)

    @property
    def size(self) -> int:
        return len(self._actors)

    async def call(self, work: Work[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        deaths = Deaths(ATTEMPTS)
        while not deaths.too_many:
            # After a death the work goes to another actor where one has room: the dead one may take a while.
            place = await self.roster.take()
            try:
                result: R = await self._actors[place[1]].run.remote(work, args, kwargs)
                return result
            except RayTaskError as error:
                if not isinstance(error.cause, SandboxError):
                    raise error.cause from None
                self.roster.retire(place[1], str(error.cause))
            except RayActorError:
                await deaths.another()
            finally:
                self.roster.give_back(place)
        raise SandboxError(f"scorer actors died {deaths} on the same work; see the Ray logs")

    def close(self) -> None:
        for actor in self._actors:
            ray.kill(actor)


def _first_ready(checks: list[Any], say: Callable[[str], None]) -> list[Any]:
    """Waits for the first scorer as long as it takes, and a moment for the others."""
    waited_s = 0.0
    while not (ready := ray.wait(checks, num_returns=1, timeout=_WAIT_S)[0]):
        waited_s += _WAIT_S
        free, there = (resources().get("CPU", 0.0) for resources in (ray.available_resources, ray.cluster_resources))
        say(f"waiting {waited_s:.0f} s for a processor: {free:g} of the cluster's {there:g} are free")
    return list(ray.wait(checks, num_returns=len(checks), timeout=_GATHER_S)[0]) or ready


class EvolverActor:
    """An evolver as an async Ray actor: bound by the network, so it takes no processor.

    What it works with comes with each call and not with its construction: Ray keeps constructor arguments in its own
    store, where a provider's key has no business, and loses large ones when the process that made them ends."""

    def __init__(self, index: int, run_id: str) -> None:
        forget()
        self._index = index
        self._label = f"Evolver(run={run_id}, {index})"
        self._evolver: Evolver | None = None

    def __repr__(self) -> str:
        return self._label

    async def evolve(
        self,
        experiment: Experiment,
        store: RedisStore,
        pool: RayPool,
        secrets: Secrets,
        search: Search,
        slots: tuple[int, int],
    ) -> None:
        secrets.install()
        pool.roster.report = into(store)
        game = make_game(experiment.game.name, **experiment.game.parameters)
        llm = shared_model(experiment, store)
        name = f"evolver-{self._index}-{uuid.uuid4().hex[:8]}"
        try:
            self._evolver = Evolver(name, search, game, store, llm, PoolScorer(pool))
            await self._evolver.work(*slots)
        finally:
            self._evolver = None
            store.close()

    async def drain(self) -> None:
        if self._evolver is not None:
            self._evolver.drain()


class RayFleet:
    """Evolver actors that share the run's store, budget and scorers; started when a search first asks for them."""

    def __init__(self, experiment: Experiment, store: RedisStore, pool: RayPool, secrets: Secrets) -> None:
        self._store = store
        self._arguments = (experiment, store, pool, secrets)
        self._count = experiment.workers.evolvers
        self._run_id = experiment.run_id
        self._slots = (-(-experiment.llm.in_flight // self._count), -(-experiment.llm.queue() // self._count))
        self._actors: list[Any] = []
        self._draining = False

    def _start(self) -> list[Any]:
        actor = ray.remote(
            num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=max(8, *self._slots), max_pending_calls=-1
        )(EvolverActor)
        return [
            actor.options(name=f"{self._run_id}/evolver-{i}-{uuid.uuid4().hex[:6]}", **_placement()).remote(
                i, self._run_id
            )
            for i in range(self._count)
        ]

    async def evolve(self, search: Search) -> bool:
        self._draining = False
        self._actors = self._actors or self._start()
        await asyncio.gather(*(self._keep_evolving(actor, search) for actor in self._actors))
        return self._store.archive(search.task.task_id, search.archive).progress().done

    async def _keep_evolving(self, actor: Any, search: Search) -> None:
        deaths = Deaths(ATTEMPTS)
        while not deaths.too_many:
            started_s = time.monotonic()
            try:
                if self._draining:
                    return None
                return await actor.evolve.remote(*self._arguments, search, self._slots)  # type: ignore[no-any-return]
            except RayTaskError as error:
                raise error.cause from None  # the error itself, not its traceback in another process
            except RayActorError:
                if time.monotonic() - started_s >= _SHORT_LIFE_S:
                    deaths.forget()
                await deaths.another()
        raise LLMError(f"an evolver actor died {deaths} as soon as it worked; see the Ray logs")

    async def drain(self) -> None:
        self._draining = True
        for actor in self._actors:
            actor.drain.remote()

    def close(self) -> None:
        for actor in self._actors:
            ray.kill(actor)


def _placement() -> dict[str, Any]:
    """Options that keep an actor on the cluster's worker machines, where it has any."""
    return {"resources": {WORKER_RESOURCE: _SHARE}} if WORKER_RESOURCE in ray.cluster_resources() else {}


def scorers_wanted(configured: int, here: int) -> int:
    """How many scorers to ask for: the configured number, else ``here`` for a Ray of our own and all processors of a
    cluster; never more than there are."""
    there = int(ray.cluster_resources().get("CPU", 1))
    return max(1, min(configured or (there if cluster_runs() else here), there))


def machines() -> list[str]:
    """Names of the cluster's living machines, each of which may be several of Ray's nodes."""
    return sorted({node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]})
