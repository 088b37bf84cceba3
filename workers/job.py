"""What a job on a cluster executes: ``python -m workers.job EXPERIMENT --out DIR``. Begins the run, or goes on with it.

All it needs to go on is the run's store, so a job whose machine is lost may be submitted again and start on another
one. With ``--best-response-to RUN`` the run is a single best response to that run's mixture, with a budget, a store and
a directory of its own; its winner is offered to RUN's pool, which takes it in before its next iteration.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evolve.archive.redis import open_store
from evolve.psro import CHECKPOINT, PsroState
from workers import offers
from workers.catalog import find_run
from workers.errors import RunFailedError, UsageError, told
from workers.experiment import Experiment
from workers.models import make_model
from workers.run import run_experiment
from workers.run_directory import RunDirectory
from workers.secrets import load_file
from workers.settings import load_experiment
from workers.supervision import RunInterruptedError
from workers.telemetry import Telemetry


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 for a run that ended, 1 for one that did not, 2 for settings that cannot be run."""
    parser = argparse.ArgumentParser(prog="python -m workers.job", description=__doc__)
    parser.add_argument("experiment")
    parser.add_argument("--out", required=True)
    parser.add_argument("--best-response-to", metavar="RUN")
    arguments = parser.parse_args(argv)
    try:
        load_file()
        with Telemetry() as telemetry:
            _run(arguments, telemetry)
    except (ValueError, RuntimeError, OSError) as error:
        line = told(error)
        if line is None:
            raise
        print(f"csro: {line[0]}", file=sys.stderr)
        return line[1]
    return 0


def _run(arguments: argparse.Namespace, telemetry: Telemetry) -> None:
    experiment = load_experiment(arguments.experiment)
    make_model(experiment)
    run, experiment = _directory(experiment, Path(arguments.out).expanduser())
    run.lock()
    if arguments.best_response_to:
        _begin_with_pool_of(arguments.best_response_to, experiment, run)
    telemetry.say(f"run {experiment.run_id} in {run.path}")
    try:
        summary = run_experiment(experiment, run, telemetry)
    except RunInterruptedError:
        raise RunFailedError("interrupted; nothing is lost, submit the same again to go on") from None
    if summary["stopped"]:
        telemetry.warn(f"stopped early: {summary['stopped']}")
    if arguments.best_response_to:
        _offer(arguments.best_response_to, run, summary["iterations"], telemetry)


def _directory(experiment: Experiment, path: Path) -> tuple[RunDirectory, Experiment]:
    """A new directory for the run, or the one it has here already, which must be of this very experiment."""
    if not (path / "experiment.toml").is_file():
        return RunDirectory.create(experiment, path.name, str(path))
    run, known = RunDirectory.open(path)
    if known.to_toml() != experiment.to_toml():
        raise UsageError(f"{path} holds a run with other settings: choose another --out or --id")
    return run, known


def _begin_with_pool_of(target: str, experiment: Experiment, run: RunDirectory) -> None:
    """Copies the target's pool and payoffs, as they are now, into this run's store, unless it has begun."""
    store = open_store(experiment.run_id, run.store)
    try:
        if store.load(CHECKPOINT) is not None:
            return
        with find_run(target).opened() as other:
            record = other.load(CHECKPOINT)
        if record is None:
            raise RunFailedError(f"run {target} has no policy pool yet: submit again when it has begun")
        state = PsroState.from_record(record)
        begun = replace(state, iterations=(), responses=0, solved=())
        store.log({"type": offers.START, "state": begun.to_record()})
        store.save(CHECKPOINT, begun.to_record())
    finally:
        store.close()


def _offer(target: str, run: RunDirectory, iterations: Sequence[dict[str, object]], telemetry: Telemetry) -> None:
    sources = run.policy_sources()
    with find_run(target).opened() as store:
        for entry in iterations:
            best = entry["best_response"]
            if isinstance(best, dict):
                program_id, player = str(best["id"]), int(str(entry["player"]))
                offer = offers.Offer(program_id, sources[program_id], player, run.path.name)
                new = offers.make(store, offer)
                telemetry.say(
                    f"offered {offer.program_id[:8]} ({best['mean_return']:+.1f} ± {best['stderr']:.1f}) to {target}"
                    if new
                    else f"{target} has been offered {offer.program_id[:8]} before"
                )


if __name__ == "__main__":
    sys.exit(main())
