"""Jobs on a Ray cluster, through its job server: submit, list, read, stop.

A job is one run, and its submission id is the run's id. Submitting the same again changes nothing while the job is
there or under way, and goes on with the run after it failed or was stopped: what a run knows is in its store. Its
experiment travels as a file; keys do not travel at all (see :mod:`workers.secrets`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from games.registry import near_matches
from workers.errors import RunFailedError, UsageError
from workers.experiment import Experiment
from workers.remote import WORKER_RESOURCE
from workers.roster import to_stderr

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_STOP_TIMEOUT_S = 60.0
_READY_TIMEOUT_S = 90.0
_TALKATIVE = (  # each sets its own level to INFO, for uploads and closed sockets
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Job:
    """``status`` is Ray's word for it in lower case; times are seconds since 1970."""

    id: str
    status: str
    message: str
    metadata: Mapping[str, str]
    started_s: float | None
    ended_s: float | None

    @property
    def over(self) -> bool:
        return self.status in ("succeeded", "failed", "stopped")

    def to_json(self) -> dict[str, object]:
        return {**self.__dict__, "metadata": dict(self.metadata)}


@dataclass(frozen=True)
class Submission:
    """A job to be: a run by its experiment, and with ``target`` the run whose mixture it answers."""

    experiment: Experiment
    out: str
    target: str | None = None

    @property
    def digest(self) -> str:
        """Of all that makes this job another one than its like."""
        text = json.dumps([self.experiment.to_toml(), self.target])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def metadata(self) -> dict[str, str]:
        """What the dashboard's job page shows."""
        experiment = self.experiment
        model = experiment.llm.model
        limits = {name: limit for name, limit in vars(experiment.budget).items() if limit is not None}
        return {
            "csro": "best-response" if self.target else "run",
            "run_id": experiment.run_id,
            "game": experiment.game.name,
            "method": experiment.method,
            "oracle": experiment.oracle.kind,
            "model": model if isinstance(model, str) else "+".join(member.model for member in model),
            "budget": ", ".join(f"{name}={limit:g}" for name, limit in limits.items()) or "no limit",
            "scorers": str(experiment.workers.scorers or "all free"),
            "run_directory": self.out,
            "digest": self.digest,
            **({"target": self.target} if self.target else {}),
        }


def address_of(given: str | None) -> str:
    """The job server: as given, else ``$RAY_API_SERVER_ADDRESS``, else this machine's. Raises :class:`UsageError`."""
    address = given or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    if urlsplit(address).scheme not in ("http", "https"):
        raise UsageError(f"--address {address!r}: must be the dashboard's URL, such as {DEFAULT_ADDRESS}")
    return address


class JobServer:
    """The jobs of the cluster whose dashboard is at ``address``. All methods raise :class:`RunFailedError` with one
    line when it does not answer or refuses us."""

    def __init__(self, address: str) -> None:
        self.address = address
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._told(), _ray_address_unset():
            self._client = JobSubmissionClient(address)

    @cached_property
    def is_local(self) -> bool:
        """Is this machine the whole cluster? A loopback address alone may be the near end of a tunnel."""
        return urlsplit(self.address).hostname in _LOOPBACK and set(self.machines()) == {platform.node()}

    def submit(self, submission: Submission, python: str | None = None) -> tuple[Job, str]:
        """The job and what was done: ``submitted``, ``resumed``, or nothing as it is ``running`` or ``succeeded``.

        Raises :class:`UsageError` if a job of that id has other settings."""
        job_id = submission.experiment.run_id
        known = {job.id: job for job in self.jobs()}.get(job_id)
        done = "submitted"
        if known is not None:
            if known.metadata.get("digest") != submission.digest:
                raise UsageError(f"job {job_id} has other settings: choose another --id, or delete that job")
            if known.status == "succeeded" or not known.over:
                return known, "succeeded" if known.over else "running"
            with self._told():
                self._client.delete_job(job_id)
            done = "resumed"
        try:
            self._send(submission, python or (sys.executable if self.is_local else "python"))
        except BaseException:
            if known is not None:  # only the job that is deleted by now knew where its run is
                to_stderr(f"job {job_id} is deleted and not yet submitted again; do so with --out {submission.out}")
            raise
        return self.job(job_id), done

    def _send(self, submission: Submission, python: str) -> None:
        words = [python, "-m", "workers.job", "experiment.toml", "--out", submission.out]
        if submission.target:
            words += ["--best-response-to", submission.target]
        with tempfile.TemporaryDirectory(prefix="csro-job-") as directory, self._told():
            # Uploaded under the digest of its content, so it holds the experiment and nothing that changes.
            (Path(directory) / "experiment.toml").write_text(submission.experiment.to_toml(), encoding="utf-8")
            self._when_ready(
                lambda: self._client.submit_job(
                    entrypoint=shlex.join(words),
                    submission_id=submission.experiment.run_id,
                    runtime_env={"working_dir": directory},
                    metadata=submission.metadata(),
                    entrypoint_num_cpus=0,
                    entrypoint_resources=self._worker_share(),
                )
            )

    @staticmethod
    def _when_ready(send: Callable[[], str]) -> None:
        """A cluster answers some time before its machines take jobs."""
        end = time.monotonic() + _READY_TIMEOUT_S
        while True:
            try:
                send()
                return
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(1.0)

    def machines(self) -> dict[str, bool]:
        """The cluster's living machines by name, and whether each takes csro's work."""
        alive = [node for node in self._nodes() if node.get("raylet", {}).get("state") == "ALIVE"]
        workers = {node["hostname"] for node in alive if _offers_work(node)}
        return {node["hostname"]: not workers or node["hostname"] in workers for node in alive}

    def _nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self._get("/nodes?view=summary")["data"]["summary"]
        return nodes

    def _worker_share(self) -> dict[str, float] | None:
        """Keeps drivers off the head where the cluster has worker machines (see ``workers.remote``)."""
        return {WORKER_RESOURCE: 0.001} if any(map(_offers_work, self._nodes())) else None

    def _get(self, path: str) -> Any:
        with self._told():
            answer = self._client._do_request("GET", path)
            answer.raise_for_status()
            return answer.json()

    def jobs(self) -> list[Job]:
        """Jobs that csro submitted, newest first."""
        with self._told():
            found = [_job(details) for details in self._client.list_jobs() if details.submission_id]
        mine = [job for job in found if "csro" in job.metadata]
        return sorted(mine, key=lambda job: job.started_s or time.time(), reverse=True)

    def job(self, job_id: str) -> Job:
        """Raises :class:`UsageError` with near matches if there is none."""
        jobs = {job.id: job for job in self.jobs()}
        if job_id not in jobs:
            hint = near_matches(job_id, jobs) if jobs else "; there are none"
            raise UsageError(f"no job {job_id!r} on {self.address}{hint}")
        return jobs[job_id]

    def logs(self, job_id: str) -> str:
        self.job(job_id)
        with self._told():
            return str(self._client.get_job_logs(job_id))

    async def follow(self, job_id: str) -> AsyncIterator[str]:
        """The job's output from its start, as it comes, until the job is over."""
        self.job(job_id)
        with self._told():
            async for text in self._client.tail_job_logs(job_id):
                yield text

    def stop(self, job_id: str) -> Job:
        """Asks the driver to end and waits until it has. Stopping what is over changes nothing."""
        if self.job(job_id).over:
            return self.job(job_id)
        with self._told():
            self._client.stop_job(job_id)
        end = time.monotonic() + _STOP_TIMEOUT_S
        while not (job := self.job(job_id)).over:
            if time.monotonic() > end:
                raise RunFailedError(f"job {job_id} does not stop; see csro logs {job_id}")
            time.sleep(0.2)
        return job

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except AuthenticationError as error:
            raise RunFailedError(
                f"the cluster at {self.address} wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
            ) from error
        except (OSError, RuntimeError) as error:  # the client's own errors are of these two kinds
            if isinstance(error, RunFailedError):
                raise
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise RunFailedError(
                f"the job server at {self.address} does not serve us ({reason[0][:200]}): is a cluster running "
                "(ray start --head), and is --address its dashboard?"
            ) from error


@contextmanager
def _ray_address_unset() -> Iterator[None]:
    """The client would take ``RAY_ADDRESS``, which names the cluster and not its dashboard, over what it is given."""
    names = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
    held = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(held)


def _offers_work(node: Mapping[str, Any]) -> bool:
    """Ray's page of nodes writes names of resources its own way."""
    first, _, second = WORKER_RESOURCE.partition("_")
    names = node.get("raylet", {}).get("resourcesTotal", {})
    return bool({WORKER_RESOURCE, first + second.capitalize()} & set(names))


def _job(details: Any) -> Job:
    return Job(
        details.submission_id,
        JobStatus(details.status).value.lower(),
        (details.message or "").strip(),
        details.metadata or {},
        details.start_time / 1000 if details.start_time else None,
        details.end_time / 1000 if details.end_time else None,
    )
