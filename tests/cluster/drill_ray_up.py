"""The on-premises cluster as a user has it: ``ray up deploy/cluster.yaml`` from outside, three machines with sshd, a
store with a password. A run is submitted, watched inside the Ray dashboard, and goes on while a worker is cut off and
comes back, and while the whole head is gone for a minute. ``make drill`` (root, some minutes).

``CSRO_SCREENSHOTS`` names a folder for the picture of the dashboard.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray._private.authentication.authentication_constants import AUTHENTICATION_TOKEN_COOKIE_NAME

from evolve.archive.redis import RedisStore
from evolve.archive.server import find_server
from evolve.llm.budget import Budget
from tests.cluster.cluster import EXPERIMENT
from tests.cluster.machines import CHECKOUT, OUTSIDE, USER, Machine, answers_ssh, machines
from tests.workers.browser import Page, chromium
from tests.workers.runs import commits, completion_keys, csro, wait_until

PASSWORD = "drill-b41c"
DASHBOARD = "http://127.0.0.1:8265"
HEAD_GONE_S = 60.0
BEGUN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGUN:5.0f} s] {text}", flush=True)


@dataclass(frozen=True)
class Outside:
    """Where the user sits: a home with the keys and secrets, and what reaches the cluster from there."""

    home: Path
    machines: dict[str, Machine]
    environment: dict[str, str]

    @property
    def redis_url(self) -> str:
        return f"redis://:{PASSWORD}@{OUTSIDE}:6379"

    def csro(self, *words: str) -> Any:
        result = csro(*words, "--json", env=self.environment)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def ssh(self, machine: str, *words: str) -> list[str]:
        options = ["-i", str(self.home / ".ssh" / "id_ed25519"), "-o", "StrictHostKeyChecking=no"]
        options += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ExitOnForwardFailure=yes"]
        return ["ssh", *options, f"{USER}@{self.machines[machine].address}", *words]

    def get(self, path: str) -> Any:
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        request = urllib.request.Request(DASHBOARD + path, headers={"Authorization": f"Bearer {token}"})
        end = time.monotonic() + 60
        while True:
            try:
                return json.load(urllib.request.urlopen(request, timeout=30))
            except OSError:  # a busy dashboard
                if time.monotonic() > end:
                    raise
                time.sleep(1)

    def alive(self) -> set[str]:
        """Addresses of the machines that Ray has."""
        with contextlib.suppress(OSError, KeyError, ValueError):
            found = self.get("/nodes?view=summary")["data"]["summary"]
            return {node["ip"] for node in found if node["raylet"].get("state") == "ALIVE" and "ip" in node}
        return set()

    def actors(self) -> dict[str, str]:
        """Living actors of csro and the address of the machine that each is on."""
        known = self.get("/nodes?view=summary")["data"]["summary"]
        nodes = {node["raylet"]["nodeId"]: node["ip"] for node in known if "ip" in node}  # of dead ones less is known
        found = self.get("/api/v0/actors?detail=1&limit=1000")["data"]["result"]["result"]
        return {each["name"]: nodes[each["node_id"]] for each in found if each["state"] == "ALIVE" and each["name"]}


@contextlib.contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    config = folder / ".config" / "csro"
    config.mkdir(parents=True)
    (config / "ray_token").write_text(os.urandom(32).hex())
    (config / "secrets.env").write_text(f"CSRO_REDIS_URL=redis://:{PASSWORD}@{OUTSIDE}:6379\n")
    for path in config.iterdir():
        path.chmod(0o600)
    environment = {
        "HOME": str(folder),
        "RAY_TMPDIR": str(folder / "ray"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(config / "ray_token"),
        "RAY_API_SERVER_ADDRESS": DASHBOARD,
        "CSRO_REDIS_URL": f"redis://:{PASSWORD}@{OUTSIDE}:6379",
    }
    (folder / "store").mkdir()
    (folder / "ray").mkdir()
    with machines(folder) as found:
        (folder / "redis.conf").write_text(
            f"include {CHECKOUT / 'deploy' / 'redis.conf'}\nrequirepass {PASSWORD}\ndir {folder / 'store'}\n"
        )
        store = [str(find_server()), str(folder / "redis.conf")]
        with subprocess.Popen(store, stdout=subprocess.DEVNULL) as server:
            try:
                yield Outside(folder, found, environment)
            finally:
                server.kill()


@pytest.fixture
def user() -> Iterator[Outside]:
    """On the file system of the virtual environment, whose files the machines get as links."""
    with tempfile.TemporaryDirectory(prefix="drill-", dir=CHECKOUT / ".venv") as folder:
        try:
            with outside(Path(folder)) as found:
                yield found
        finally:
            if kept := os.environ.get("CSRO_DRILL_LOGS"):
                _keep_logs(Path(folder), Path(kept))


def _keep_logs(folder: Path, kept: Path) -> None:
    for path in (*folder.glob("*/boot.log"), *folder.glob("*/home/*.log"), *folder.glob("*.log")):
        target = kept / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


@contextlib.contextmanager
def tunnel(user: Outside) -> Iterator[None]:
    """The two ports that deploy/cluster.yaml says to forward."""
    words = ["-N", "-L", "8265:127.0.0.1:8265", "-L", "8270:127.0.0.1:8270"]
    command = user.ssh("head")
    with subprocess.Popen([command[0], *words, *command[1:]]) as process:
        try:
            yield
        finally:
            process.kill()


def ray_up(user: Outside) -> None:
    code = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    log, key = user.home / "ray_up.log", "~/.ssh/id_ed25519"
    # The file as it is, but for the key, which ssh looks for in the home that the system knows and not in ``$HOME``.
    text = (CHECKOUT / "deploy" / "cluster.yaml").read_text()
    assert text.count(key) == 1
    (user.home / "cluster.yaml").write_text(text.replace(key, str(user.home / ".ssh" / "id_ed25519")))
    words = ["up", "--yes", "--no-config-cache", str(user.home / "cluster.yaml")]
    with log.open("w") as file:
        status = subprocess.run(
            [sys.executable, "-c", code, *words],
            env={**os.environ, **user.environment},
            cwd=CHECKOUT,
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=400,
            check=False,
        ).returncode
    assert status == 0, log.read_text()[-4000:]


def committed(user: Outside) -> int:
    store = RedisStore(user.redis_url, "drill")
    try:
        return len(commits(store))
    finally:
        store.close()


def runs(user: Outside) -> bool:
    job = user.get("/api/jobs/drill")
    assert job["status"] in ("PENDING", "RUNNING"), job["message"]
    return True


def goes_on(user: Outside, what: str, children: int = 5) -> None:
    before, begun = committed(user), time.monotonic()
    wait_until(lambda: committed(user) >= before + children, f"{children} more children {what}", 480)
    say(f"{what}: {before} -> {committed(user)} children within {time.monotonic() - begun:.0f} s")


def holds(condition: Callable[[], bool], what: str, timeout_s: float = 480) -> None:
    begun = time.monotonic()
    wait_until(condition, what, timeout_s)
    say(f"{what} (after {time.monotonic() - begun:.0f} s)")


def command_lines() -> list[bytes]:
    """Of all processes, those on the machines too."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(entry.read_bytes())
    return found


async def look_at_the_board(user: Outside) -> None:
    """Signs in as a user does, opens the Metrics tab and reads csro's page in its frame."""
    token = Path(user.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    async with chromium(user.home / "profile") as page:
        await page.send("Network.setCookie", name=AUTHENTICATION_TOKEN_COOKIE_NAME, value=token, url=DASHBOARD)
        await page.open(f"{DASHBOARD}/#/metrics", 1400)
        end = time.monotonic() + 60
        while "searching" not in (shown := await board_in_frame(page)) or "drill" not in shown:
            assert time.monotonic() < end, f"the Metrics tab shows no board of the run: {shown[:500]!r}"
            await asyncio.sleep(0.5)
        await asyncio.sleep(3)  # a few more points to look at
        if folder := os.environ.get("CSRO_SCREENSHOTS"):
            await page.screenshot(Path(folder) / "ray_dashboard_board.png")
        say("the Metrics tab frames the board: " + " | ".join((await board_in_frame(page)).split("\n")[:8]))


async def board_in_frame(page: Page) -> str:
    """The text of csro's page in the tab's frame; empty before it is there."""
    tree = (await page.send("Page.getFrameTree"))["frameTree"]
    for child in tree.get("childFrames", ()):
        if ":8270/d/csro" in child["frame"]["url"]:
            world = await page.send("Page.createIsolatedWorld", frameId=child["frame"]["id"])
            words = {"expression": "document.body.innerText", "contextId": world["executionContextId"]}
            return str((await page.send("Runtime.evaluate", **words))["result"].get("value", ""))
    return ""


def test_systemd_reads_the_heads_unit(tmp_path: Path) -> None:
    def verify(text: str) -> list[str]:
        """What it says of the unit; on a machine without systemd running it says other things too."""
        (tmp_path / "csro-head.service").write_text(text)
        words = ["systemd-analyze", "--user", "verify", str(tmp_path / "csro-head.service")]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
        said = subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stderr
        return [line for line in said.splitlines() if "csro-head" in line or "Failed to initialize" in line]

    unit = (CHECKOUT / "deploy" / "csro-head.service").read_text()
    assert verify(unit) == []
    assert "RestratSec" in str(verify(unit.replace("RestartSec", "RestratSec")))


async def test_a_run_outlives_a_worker_cut_off_and_the_head_gone_for_a_minute(user: Outside) -> None:
    ray_up(user)
    say("ray up is done")
    with tunnel(user):
        everyone = {machine.address for machine in user.machines.values()}
        holds(lambda: user.alive() == everyone, "Ray has the head and both workers")
        file = user.home / "drill.toml"
        file.write_text(EXPERIMENT)
        words = ("--set", "archive.proposals=50000", "--set", "workers.scorers=3", "--set", "workers.evolvers=2")
        user.csro("submit", str(file), "--id", "drill", *words)
        holds(lambda: runs(user) and committed(user) >= 5, "the run has five children")
        placed = user.actors()
        say(f"actors by machine: {dict(Counter(placed.values()))}")
        workers = {user.machines["one"].address, user.machines["two"].address}
        assert set(placed.values()) == workers, placed
        assert {"drill/scorer", "drill/evolver"} <= {name.partition("-")[0] for name in placed}
        driver = RedisStore(user.redis_url, "drill").load("status")
        assert driver is not None
        host = str(driver["host"])
        say(f"the driver is on {host}")
        await look_at_the_board(user)
        seen = [line for line in command_lines() if b"raylet/raylet" in line or b"gcs_server" in line]
        assert len(seen) >= 4, "no Ray to look at"
        assert not [line for line in command_lines() if PASSWORD.encode() in line], "ps shows the store's password"
        away = user.machines["two" if host == "csro-one" else "one"]
        away.cable("down")
        goes_on(user, f"with {away.address} cut off")
        holds(lambda: away.address not in user.alive(), f"Ray gave {away.address} up")
        goes_on(user, "without it")
        away.cable("up")
        holds(lambda: user.alive() == everyone, f"{away.address} is back")
    head = user.machines["head"]
    head.end()
    say("the head is gone")
    end = time.monotonic() + HEAD_GONE_S
    while time.monotonic() < end:
        goes_on(user, "without a head", 3)
        time.sleep(5)
    head.boot()
    with tunnel_when_there(user):
        holds(lambda: user.alive() == everyone, "the head is back, with both workers")
        goes_on(user, "with the head back")
        same = RedisStore(user.redis_url, "drill").load("status")
        assert same is not None
        assert same["driver"] == driver["driver"], "another driver took the run over"
        say(f"the driver is the same; actors by machine: {dict(Counter(user.actors().values()))}")
        user.csro("stop", "drill")
        store = RedisStore(user.redis_url, "drill")
        assert store.ledger(Budget()).spent().llm_calls <= len(completion_keys(store))
        say(f"{len(commits(store))} children, {len(completion_keys(store))} completions")


@contextlib.contextmanager
def tunnel_when_there(user: Outside) -> Iterator[None]:
    wait_until(lambda: answers_ssh(user.machines["head"].address), "the head's sshd")
    with tunnel(user):
        yield
