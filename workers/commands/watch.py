"""Shows a run as it goes on, from its store, until it ends: on a terminal one line that changes, else a line every few
seconds. RUN is a directory under runs/, a run's id, or a job's id. Exit status 0 if the run ended, 1 if it stopped."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

from workers.catalog import KnownRun, find_run
from workers.commands.common import add_address
from workers.errors import RunFailedError, UsageError
from workers.status import Status
from workers.telemetry import Telemetry, budget_line, counts

_INTERVAL_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="a run's directory or id, or a job's id")
    parser.add_argument("--once", action="store_true", help="show how it stands, and end")
    add_address(parser)


def run(arguments: argparse.Namespace) -> int:
    known = _find(arguments)
    with Telemetry(quiet=arguments.json or arguments.once) as telemetry:
        while True:
            state, status = known.describe()
            if status is not None and not arguments.once:
                telemetry.live(describe(status, state))
            if arguments.once or state in ("ended", "stopped", "gone", "other version"):
                break
            time.sleep(_INTERVAL_S)
    if arguments.json:
        record = {} if status is None else status.to_record()
        print(json.dumps({"run_id": known.run_id, "state": state, **record}))
    elif status is not None:
        print(describe(status, state))
    else:
        print(f"{known.run_id}: {state}")
    return 0 if state == "ended" or arguments.once else 1


def _find(arguments: argparse.Namespace) -> KnownRun:
    """The run by itself, else by the job that runs it: the job knows its directory, which may be on this machine."""
    try:
        return find_run(arguments.run_name)
    except UsageError as unknown:
        from workers.jobs import JobServer, address_of

        try:
            job = JobServer(address_of(arguments.address)).job(arguments.run_name)
        except (RunFailedError, UsageError):
            raise unknown from None
        try:
            return replace(find_run(job.metadata["run_directory"]), run_id=job.id)
        except UsageError:
            raise RunFailedError(
                f"job {job.id} is {job.status}, but its store is not reached from here: set CSRO_REDIS_URL, or see "
                f"csro logs {job.id}"
            ) from None


def describe(status: Status, state: str) -> str:
    """A status as one line."""
    best = f"{status.best.mean_return:+.1f} ± {status.best.stderr:.1f}" if status.best else "none yet"
    return (
        f"{status.run_id} {state} | iteration {status.iteration}/{status.iterations} | best {best} | "
        f"{status.committed}/{status.proposals} programs, {status.programs_per_s:.1f}/s | "
        f"failures: {counts(status.failures)} | {status.in_flight} calls in flight | "
        f"budget: {budget_line(status.spent, status.budget)} | {status.line}"
    )
