"""Runs a finished run again from its recorded completions, with no language model, and says whether everything came
out identical or where it first differs. Exit status 1 if it differs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from workers.commands.common import check_isolation
from workers.replay import replay
from workers.run_directory import RunDirectory
from workers.telemetry import Telemetry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_directory", metavar="RUN", type=Path, help="a finished run's directory")


def run(arguments: argparse.Namespace) -> int:
    directory, experiment = RunDirectory.open(arguments.run_directory)
    with Telemetry() as telemetry:
        check_isolation(experiment, telemetry)
        difference = replay(directory, experiment, telemetry)
    if arguments.json:
        print(json.dumps({"identical": difference is None, "first_difference": difference}))
    else:
        print("identical" if difference is None else f"different: {difference}")
    return 0 if difference is None else 1
