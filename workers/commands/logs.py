"""Prints what a job's driver wrote; with --follow as it comes, until the job is over."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from workers.commands.common import add_address


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="the job's id")
    parser.add_argument("--follow", action="store_true", help="go on until the job is over")
    add_address(parser)


def run(arguments: argparse.Namespace) -> int:
    from workers.jobs import JobServer, address_of

    server = JobServer(address_of(arguments.address))
    if arguments.json:
        print(json.dumps({"job": arguments.job, "logs": server.logs(arguments.job)}))
        return 0
    if not arguments.follow:
        sys.stdout.write(server.logs(arguments.job))
        return 0

    async def follow() -> None:
        async for text in server.follow(arguments.job):
            sys.stdout.write(text)
            sys.stdout.flush()

    asyncio.run(follow())
    return 0 if server.job(arguments.job).status == "succeeded" else 1
