"""Puts back a run that csro export wrote: its directory under runs/ (or --out), its store into the one at
CSRO_REDIS_URL if that is set, else an embedded one. csro run NAME --resume --out DIR then goes on with it."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from workers.archive_file import import_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="what csro export wrote")
    parser.add_argument("--out", metavar="DIR", type=Path, help="the run directory (default runs/RUN_ID)")


def run(arguments: argparse.Namespace) -> int:
    manifest, directory = import_run(arguments.file, arguments.out, os.environ.get("CSRO_REDIS_URL"))
    if arguments.json:
        print(json.dumps({"run_directory": str(directory), **vars(manifest)}))
    else:
        print(f"run {manifest.run_id} is in {directory}; go on with it by --resume --out {directory}")
    return 0
