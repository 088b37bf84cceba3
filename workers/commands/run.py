"""Runs an experiment: a preset by name or a TOML file. Resumable at any moment with --resume."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from evolve.llm.budget import Usage
from workers.commands.common import add_overrides
from workers.errors import RunFailedError, UsageError
from workers.experiment import Experiment
from workers.models import make_model
from workers.run import run_experiment
from workers.run_directory import RunDirectory
from workers.settings import load_experiment, preset_names
from workers.supervision import RunInterruptedError
from workers.tables import print_tables, run_tables
from workers.telemetry import Telemetry, budget_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    presets = ", ".join(preset_names())
    parser.add_argument("experiment", metavar="PRESET_OR_TOML", help=f"a TOML file, or one of {presets}")
    add_overrides(parser, "psro.iterations=2, llm.model=openai:MODEL, budget.usd=5")
    parser.add_argument("--out", metavar="DIR", help="the run directory (default runs/RUN_ID)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, or this preset's newest")


def run(arguments: argparse.Namespace) -> int:
    directory, experiment = _start(arguments)
    with Telemetry() as telemetry:
        telemetry.say(f"run {experiment.run_id} in {directory.path}")
        try:
            summary = run_experiment(experiment, directory, telemetry)
        except (RunInterruptedError, KeyboardInterrupt):  # the latter while it starts, or at a second Ctrl-C
            again = f"csro run {arguments.experiment} --resume --out {directory.path}"
            raise RunFailedError(f"interrupted; nothing is lost, go on with: {again}") from None
        if summary["stopped"]:
            telemetry.warn(f"stopped early: {summary['stopped']}")
    if arguments.json:
        print(json.dumps(summary, allow_nan=False))
        return 0
    print_tables(run_tables(summary))
    print(f"budget         {budget_line(Usage(**summary['budget']), experiment.budget)}")
    print(f"sandbox        level {summary['sandbox']['level']}")
    print(f"run directory  {directory.path}")
    print(f"report         {directory.path / 'report.html'}")
    return 0


def _start(arguments: argparse.Namespace) -> tuple[RunDirectory, Experiment]:
    """The run's directory, locked. A missing key or an unknown model is told before anything is written."""
    if arguments.resume:
        return _resumed(arguments)
    experiment = load_experiment(arguments.experiment, arguments.overrides)
    make_model(experiment)
    directory, experiment = RunDirectory.create(experiment, Path(arguments.experiment).stem, arguments.out)
    directory.lock()
    return directory, experiment


def _resumed(arguments: argparse.Namespace) -> tuple[RunDirectory, Experiment]:
    name = Path(arguments.experiment).stem
    path = Path(arguments.out) if arguments.out else RunDirectory.latest(name)
    directory, experiment = RunDirectory.open(path)
    directory.check_name(name, experiment.run_id, arguments.experiment)
    directory.lock()
    if not arguments.overrides:
        make_model(experiment)
        return directory, experiment
    changed = load_experiment(str(path / "experiment.toml"), arguments.overrides)
    for key in ("run_id", "game", "method", "seed", "archive", "psro", "pibr", "oracle"):
        before, after = getattr(experiment, key), getattr(changed, key)
        # More iterations may be added; nothing else that a run's results depend on may change under it.
        if key in ("psro", "pibr"):
            after = replace(after, iterations=before.iterations)
        if before != after:
            raise UsageError(f"--resume cannot change {key}, on which the run's results depend: start a new run")
    make_model(changed)
    directory.write_text("experiment.toml", changed.to_toml())
    return directory, changed
