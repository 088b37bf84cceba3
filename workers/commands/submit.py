"""Submits a run to a Ray cluster as a job: an experiment (a preset by name or a TOML file), or with "best-response"
and --run a single best response to that run's present mixture, whose winner is offered to its pool. The job's id is the
run's id. Submitting the same again changes nothing while the job is there, and goes on with a run that failed or was
stopped. Its quota is its own: budget.*, workers.scorers, workers.evolvers and llm.in_flight."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tomllib
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.archive.redis import RedisStore
from evolve.psro import CHECKPOINT, PsroState
from workers.catalog import find_run
from workers.commands.common import add_address, add_overrides
from workers.errors import UsageError
from workers.experiment import Experiment
from workers.settings import experiment_from, load_experiment, preset_names

if TYPE_CHECKING:  # it imports Ray
    from workers.jobs import JobServer

BEST_RESPONSE = "best-response"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    presets = ", ".join(preset_names())
    parser.add_argument(
        "experiment", metavar="PRESET_OR_TOML", help=f"a TOML file, one of {presets}, or {BEST_RESPONSE}"
    )
    parser.add_argument("--run", dest="target", metavar="RUN", help="the run to answer, by directory or id")
    add_overrides(parser, "psro.iterations=2, llm.model=openai:MODEL, budget.usd=5, workers.scorers=4")
    add_address(parser)
    parser.add_argument("--id", metavar="ID", help="the run's id (default: made of its name and its settings)")
    parser.add_argument("--out", metavar="DIR", help="the run directory on the machine where the job runs")
    parser.add_argument("--python", metavar="PROGRAM", help="the cluster's Python with csro (default: python there)")


def run(arguments: argparse.Namespace) -> int:
    from workers.jobs import JobServer, Submission, address_of

    if arguments.experiment == BEST_RESPONSE:
        experiment, target = _best_response(arguments)
    elif arguments.target:
        raise UsageError(f"--run goes with {BEST_RESPONSE}: csro submit {BEST_RESPONSE} --run {arguments.target}")
    else:
        experiment, target = _whole_run(arguments), None
    if experiment.execution != "ray":
        raise UsageError("a job runs on Ray: leave out execution=local")
    server = JobServer(address_of(arguments.address))
    out = arguments.out or _run_directory(server, experiment.run_id)
    job, done = server.submit(Submission(experiment, out, target), arguments.python)
    if arguments.json:
        print(json.dumps({"done": done, **job.to_json()}))
        return 0
    told = {
        "submitted": "is submitted",
        "resumed": "is submitted again and goes on where it was",
        "running": f"is {job.status} already; nothing was changed",
        "succeeded": "has succeeded already; nothing was changed",
    }
    print(f"job {job.id} {told[done]}")
    print(f"watch it with csro watch {job.id}; on the dashboard: {server.address}/#/jobs/{job.id}")
    return 0


def _run_directory(server: JobServer, run_id: str) -> str:
    """Where the run is, if a job of that id had one: it stays there, whatever the cluster and this shell's directory
    are by now. Else a place on the machine where the job runs."""
    for job in server.jobs():
        if job.id == run_id and "run_directory" in job.metadata:
            return job.metadata["run_directory"]
    root = Path("runs").absolute() if server.is_local else Path("~/csro/runs")
    return str(root / run_id)


def _whole_run(arguments: argparse.Namespace) -> Experiment:
    experiment = load_experiment(arguments.experiment, arguments.overrides)
    return _named(experiment, Path(arguments.experiment).stem, arguments.id)


def _best_response(arguments: argparse.Namespace) -> tuple[Experiment, str]:
    """The target's own settings with overrides, for one iteration; and where the job finds the target."""
    if not arguments.target:
        raise UsageError(f"csro submit {BEST_RESPONSE} needs --run RUN: the run whose mixture it answers")
    known = find_run(arguments.target)
    with known.opened() as store:
        toml, iteration = _target(store)
    experiment = experiment_from({**tomllib.loads(toml), "run_id": ""}, arguments.overrides)
    if experiment.method != "csro":
        raise UsageError(f"run {known.run_id} has method {experiment.method}, which keeps no policy pool to answer")
    experiment = replace(experiment, execution="ray", psro=replace(experiment.psro, iterations=1))
    experiment = _named(experiment, f"br-{known.run_id}-{iteration}", arguments.id)
    # Its own seed: with the target's it would make the very search that the target makes itself.
    seeded = any(override.partition("=")[0].strip() == "seed" for override in arguments.overrides)
    if not seeded:
        experiment = replace(experiment, seed=zlib.crc32(experiment.run_id.encode()))
    where = known.run_id if known.shared or known.directory is None else str(known.directory.absolute())
    return experiment, where


def _target(store: RedisStore) -> tuple[str, int]:
    """The target's experiment and how many iterations it has behind it."""
    record, experiment = store.load(CHECKPOINT), store.load("experiment")
    if record is None or experiment is None:
        raise UsageError(f"run {store.run_id} has no policy pool yet: submit when its first search has begun")
    state = PsroState.from_record(record)
    return str(experiment["toml"]), state.responses // len(state.pools)


def _named(experiment: Experiment, name: str, given: str | None) -> Experiment:
    """With its run id: as given, as the file says, or the name and a digest of all settings, so that the same
    experiment submitted twice is one job."""
    if given and not re.fullmatch(r"[A-Za-z0-9._-]+", given):
        raise UsageError(f"--id {given!r}: letters, digits, dots, dashes and underscores only")
    digest = hashlib.sha256(experiment.to_toml().encode()).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return replace(experiment, run_id=given or experiment.run_id or f"{plain}-{digest}")
