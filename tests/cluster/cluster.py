"""A Ray cluster of one machine as ``ray start`` makes it, with a password-protected store, for tests of jobs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolve.archive.server import find_server
from tests.workers.runs import csro, processes, wait_until

START_S = 180.0
PASSWORD = "canary-of-the-store-5f1c"
API_KEY = "canary-of-the-provider-93ab"

EXPERIMENT = """
[game]
name = "repeated_rps"
num_rounds = 100
[psro]
iterations = 2
payoff_matches = 2
[oracle]
matches = 2
fresh_matches = 4
[archive]
proposals = 16
lease_s = 3.0
[evaluation]
matches = 2
[workers]
scorers = 1
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """``environment`` is what a client needs; ``folder`` holds what runs and store write, ``temp`` what Ray does
    (at a short path, for its sockets). ``url`` is the dashboard's, ``address`` what further machines join."""

    folder: Path
    temp: Path
    url: str
    address: str
    redis_url: str
    environment: Mapping[str, str]

    def csro(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return csro(*words, env={**self.environment, **env})

    def json(self, *words: str, status: int = 0) -> Any:
        result = self.csro(*words, "--json")
        assert result.returncode == status, result.stderr
        return json.loads(result.stdout)

    def job(self, job_id: str) -> dict[str, Any]:
        """As the job server itself describes it: a command line would take seconds each time it is asked."""
        found: dict[str, Any] = self.get(f"/api/jobs/{job_id}")
        return {**found, "status": found["status"].lower()}

    def nodes(self) -> int:
        """How many of its machines live."""
        found = self.get("/nodes?view=summary")["data"]["summary"]
        return sum(node["raylet"]["state"] == "ALIVE" for node in found)

    def get(self, path: str) -> Any:
        """What the dashboard answers."""
        token = (self.folder / "token").read_text()
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        return json.load(urllib.request.urlopen(request, timeout=30))

    def wait(self, job_id: str, *statuses: str) -> dict[str, Any]:
        wait_until(lambda: self.job(job_id)["status"] in statuses, f"{job_id} to be {statuses}", 900)
        return self.job(job_id)


@contextlib.contextmanager
def redis_server(folder: Path, *more: str) -> Iterator[str]:
    """A server on TCP with a password, as a cluster has it; ``more`` are options of the server's."""
    port = free_port()
    folder.mkdir(parents=True)
    words = ["--port", str(port), "--requirepass", PASSWORD, "--dir", str(folder), "--appendonly", "yes", "--save", ""]
    with subprocess.Popen([str(find_server()), *words, *more], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _listens(port), "the store")
            yield f"redis://:{PASSWORD}@127.0.0.1:{port}"
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def cluster(folder: Path, cpus: int = 3) -> Iterator[Cluster]:
    """Started with token authentication in directories of its own; all of its processes end with it."""
    token, secrets = folder / "token", folder / "secrets.env"
    token.write_text("0123456789abcdef0123456789abcdef")
    common = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_worker_niceness": "0",
        "CSRO_SECRETS": str(secrets),
    }
    with tempfile.TemporaryDirectory(prefix="csro-ray-") as directory, redis_server(folder / "redis") as redis_url:
        temp = Path(directory)
        secrets.write_text(f"CSRO_REDIS_URL={redis_url}\nOPENAI_API_KEY={API_KEY}\n")
        secrets.chmod(0o600)
        for last in (False, False, True):
            head, url, address = _start_head(folder / "head.log", temp, {**os.environ, **common}, cpus)
            # Ray has deadlines of its own, which an overloaded machine may miss.
            if _comes_up(head, url, token.read_text()):
                break
            _end(head, temp)
            assert not last, (folder / "head.log").read_text()
        try:
            client = {**common, "RAY_API_SERVER_ADDRESS": url, "CSRO_REDIS_URL": redis_url}
            yield Cluster(folder, temp, url, address, redis_url, client)
        finally:
            _end(head, temp)


def _start_head(
    log_file: Path, temp: Path, environment: Mapping[str, str], cpus: int
) -> tuple[subprocess.Popen[bytes], str, str]:
    dashboard, port = free_port(), free_port()
    words = ["start", "--head", "--block", "--node-ip-address", "127.0.0.1", "--port", str(port)]
    words += ["--temp-dir", str(temp), "--num-cpus", str(cpus)]
    words += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard), "--disable-usage-stats"]
    words += ["--object-store-memory", "100000000"]
    for option in ("--ray-client-server-port", "--dashboard-agent-listen-port"):
        words += [option, str(free_port())]
    return _ray(words, environment, log_file), f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}"


def _ray(words: Sequence[str], environment: Mapping[str, str], log_file: Path) -> subprocess.Popen[bytes]:
    code = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    with log_file.open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=dict(environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class Worker:
    """A second machine's Ray, started again whenever it ends, as the autoscaler or Kubernetes would."""

    def __init__(self, joined: Cluster, cpus: int) -> None:
        self._words = ["start", "--block", "--address", joined.address, "--num-cpus", str(cpus)]
        self._words += ["--node-ip-address", "127.0.0.1", "--object-store-memory", "100000000"]
        self._environment = {**os.environ, **joined.environment, "RAY_TMPDIR": str(joined.temp)}
        self._log = joined.folder / "worker.log"
        self._ray: subprocess.Popen[bytes] | None = None

    def keep_up(self) -> None:
        if self._ray is None or self._ray.poll() is not None:
            self._ray = _ray(self._words, self._environment, self._log)

    def raylets(self) -> list[int]:
        """The pid of its raylet, if it is up."""
        return [] if self._ray is None else processes(self._ray.pid, "raylet/raylet ")


def _comes_up(head: subprocess.Popen[bytes], url: str, token: str) -> bool:
    end = time.monotonic() + START_S
    while head.poll() is None and time.monotonic() < end:
        if _answers(url, token):
            return True
        time.sleep(0.2)
    return False


def _answers(url: str, token: str) -> bool:
    request = urllib.request.Request(f"{url}/api/version", headers={"Authorization": f"Bearer {token}"})
    try:
        return bool(urllib.request.urlopen(request, timeout=5).status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(head: subprocess.Popen[bytes], temp: Path) -> None:
    """The head and whatever of its session lives: known by the session's directory in the command line or the
    environment, for some of Ray's processes make sessions of their own."""
    head.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(20)
    for _ in range(3):
        for pid in session_processes(temp):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
    head.wait(20)


def session_processes(temp: Path) -> list[int]:
    """Processes of the Ray whose temporary directory this is."""
    needle, found = os.fsencode(temp), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if needle in (entry / "cmdline").read_bytes() or needle in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found
