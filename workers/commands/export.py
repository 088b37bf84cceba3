"""Writes a run, its directory and its store, into one archive file that csro import puts back anywhere. The run may be
under way: its store is taken as of one moment."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from workers.archive_file import export_run
from workers.catalog import find_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="a run's directory or id")
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, help="default RUN_ID.tar.gz here")


def run(arguments: argparse.Namespace) -> int:
    known = find_run(arguments.run_name)
    path = arguments.file or Path(f"{known.run_id}.tar.gz")
    manifest = export_run(known, path)
    if arguments.json:
        print(json.dumps({"file": str(path), **vars(manifest)}))
    else:
        print(f"{path}: run {manifest.run_id}, {manifest.keys} keys of its store, {manifest.files} files")
    return 0
