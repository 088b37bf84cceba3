"""Writes report.html into a run directory: one self-contained page of everything the run found."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from workers.report import render_report
from workers.run_directory import RunDirectory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_directory", metavar="RUN", type=Path, help="a run directory")


def run(arguments: argparse.Namespace) -> int:
    directory, _ = RunDirectory.open(arguments.run_directory)
    path = render_report(directory.path)
    print(json.dumps({"report": str(path)}) if arguments.json else path)
    return 0
