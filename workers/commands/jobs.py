"""Lists the jobs that csro submitted to a Ray cluster, newest first: runs and best responses, and what for."""

from __future__ import annotations

import argparse
import json
import time

from rich.markup import escape
from rich.table import Table

from workers.commands.common import add_address
from workers.tables import print_tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_address(parser)


def run(arguments: argparse.Namespace) -> int:
    from workers.jobs import JobServer, address_of

    jobs = JobServer(address_of(arguments.address)).jobs()
    if arguments.json:
        print(json.dumps([job.to_json() for job in jobs]))
        return 0
    if not jobs:
        print("no jobs; csro submit PRESET_OR_TOML makes one")
        return 0
    table = Table("job", "status", "for", "game", "oracle", "model", "budget", title="jobs", title_justify="left")
    for job in jobs:
        data = job.metadata
        purpose = "run" if "target" not in data else f"best response to {data['target']}"
        since = (job.ended_s or time.time()) - (job.started_s or time.time())
        status = f"{job.status}, {since:.0f} s"
        words = (job.id, status, purpose, *(data.get(key, "") for key in ("game", "oracle", "model", "budget")))
        table.add_row(*map(escape, words))
    print_tables([table])
    return 0
