"""Runs a finished run again from its recorded completions, with no language model, and says whether everything came
out identical or where it first differs. With other settings (--set) it says at which request these leave the recording.
Exit status 1 if it differs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from workers.commands.common import add_overrides, check_isolation
from workers.replay import other_versions, replay
from workers.run_directory import RunDirectory
from workers.settings import SettingsError, load_experiment
from workers.telemetry import Telemetry

_FIXED = frozenset(
    {"run_id", "execution", "psro.iterations", "llm.in_flight", "llm.backlog", "workers.evolvers", "workers.board"}
)
"""Keys that a replay takes from the recording, or has no use for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_directory", metavar="RUN", type=Path, help="a finished run's directory")
    add_overrides(parser, "oracle.opponent_input=none, archive.num_inspirations=1")


def run(arguments: argparse.Namespace) -> int:
    for override in arguments.overrides:
        key = override.partition("=")[0].strip()
        if key in _FIXED or key.startswith("budget."):
            raise SettingsError(f"--set {key}: a replay does not read it; the recording decides it")
    directory, experiment = RunDirectory.open(arguments.run_directory)
    if arguments.overrides:
        experiment = load_experiment(str(directory.path / "experiment.toml"), arguments.overrides)
    with Telemetry() as telemetry:
        check_isolation(experiment, telemetry)
        difference = replay(directory, experiment, telemetry)
    if difference is not None and (others := other_versions(directory.summary())):
        difference += f" (other versions: {others})"
    if arguments.json:
        print(json.dumps({"identical": difference is None, "first_difference": difference}))
    else:
        print("identical" if difference is None else f"different: {difference}")
    return 0 if difference is None else 1
