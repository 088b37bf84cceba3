"""Stops a job. Its run keeps all it has: submitting the same again goes on with it."""

from __future__ import annotations

import argparse
import json

from workers.commands.common import add_address


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="the job's id")
    add_address(parser)


def run(arguments: argparse.Namespace) -> int:
    from workers.jobs import JobServer, address_of

    server = JobServer(address_of(arguments.address))
    was_over = server.job(arguments.job).over
    job = server.stop(arguments.job)
    if arguments.json:
        print(json.dumps(job.to_json()))
    elif was_over:
        print(f"job {job.id} had ended already: {job.status}")
    else:
        print(f"job {job.id} is {job.status}; submit the same again to go on")
    return 0
