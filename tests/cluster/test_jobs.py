"""Jobs on a real cluster, with a token, a password and a provider's key: submitted, stopped, killed, resumed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.archive.redis import RedisStore
from evolve.llm.budget import Budget
from tests.cluster.cluster import API_KEY, EXPERIMENT, PASSWORD, Cluster, cluster, session_processes
from tests.evolve.llm.loopback import Loopback, offline_answers
from tests.workers.runs import commits, completion_keys, finished, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def submit(ray: Cluster, name: str, *words: str) -> dict[str, object]:
    file = ray.folder / f"{name}.toml"
    file.write_text(EXPERIMENT)
    out = str(ray.folder / "runs" / name)
    result: dict[str, object] = ray.json("submit", str(file), "--id", name, "--out", out, *words)
    return result


def store_of(ray: Cluster, name: str) -> RedisStore:
    return RedisStore(ray.redis_url, name)


def committed(ray: Cluster, name: str) -> int:
    store = store_of(ray, name)
    try:
        return len(commits(store))
    finally:
        store.close()


def test_a_job_runs_and_the_same_again_changes_nothing(ray: Cluster) -> None:
    assert submit(ray, "one")["done"] == "submitted"
    refused = ray.csro("submit", str(ray.folder / "one.toml"), "--id", "one", "--set", "seed=5")
    assert (refused.returncode, "other settings" in refused.stderr) == (2, True)
    job = ray.wait("one", "succeeded", "failed")
    assert job["status"] == "succeeded", ray.csro("logs", "one").stdout
    assert job["metadata"]["game"] == "repeated_rps"
    assert job["metadata"]["budget"] == "no limit"
    assert submit(ray, "one")["done"] == "succeeded"
    assert "iteration 2: promoted" in finished(ray.csro("logs", "one")).stdout
    found = ray.json("watch", "one")
    assert (found["state"], found["committed"]) == ("ended", 16)
    summary = json.loads((ray.folder / "runs" / "one" / "summary.json").read_text())
    assert len(summary["iterations"]) == 2


def test_a_stopped_job_goes_on_when_it_is_submitted_again(ray: Cluster) -> None:
    submit(ray, "stopped", "--set", "archive.proposals=96")
    wait_until(lambda: committed(ray, "stopped") >= 3, "3 children")
    actors = ray.get("/api/v0/actors?detail=1&limit=1000")["data"]["result"]["result"]
    said = {each["repr_name"] for each in actors if each["name"].startswith("stopped/") and each["state"] == "ALIVE"}
    assert said == {"Scorer(run=stopped, 0)", "Evolver(run=stopped, 0)"}
    assert ray.json("stop", "stopped")["status"] in ("stopped", "failed")
    store = store_of(ray, "stopped")
    known, completions = commits(store), completion_keys(store)
    assert 0 < len(known) < 192
    again = ("submit", str(ray.folder / "stopped.toml"), "--id", "stopped", "--set", "archive.proposals=96")
    assert ray.json(*again)["done"] == "resumed"
    job = ray.wait("stopped", "succeeded", "failed")
    assert job["status"] == "succeeded", ray.csro("logs", "stopped").stdout
    assert job["metadata"]["run_directory"] == str(ray.folder / "runs" / "stopped"), "the run has moved"
    end = commits(store)
    assert {key: end[key] for key in known} == known
    assert completion_keys(store) >= completions
    assert len(end) == 192
    assert ray.json("stop", "stopped")["status"] == "succeeded", "stopping what is over changed it"


def test_a_killed_driver_fails_its_job_and_the_next_one_goes_on(ray: Cluster) -> None:
    submit(ray, "killed", "--set", "archive.proposals=24")
    wait_until(lambda: committed(ray, "killed") >= 3, "3 children")
    store = store_of(ray, "killed")
    status = store.load("status")
    assert status is not None
    os.kill(int(str(status["pid"])), signal.SIGKILL)
    assert ray.wait("killed", "failed")["status"] == "failed"
    known = commits(store)
    assert submit(ray, "killed", "--set", "archive.proposals=24")["done"] == "resumed"
    assert ray.wait("killed", "succeeded", "failed")["status"] == "succeeded", ray.csro("logs", "killed").stdout
    end = commits(store)
    assert {key: end[key] for key in known} == known
    assert len(end) == 48
    assert store.ledger(Budget()).spent().llm_calls == len(completion_keys(store))


def test_a_best_response_is_offered_to_the_pool_which_takes_it_in(ray: Cluster) -> None:
    submit(ray, "one")
    ray.wait("one", "succeeded")
    out = str(ray.folder / "runs" / "answer")
    words = ("--set", "archive.proposals=8", "--set", "budget.llm_calls=6", "--id", "answer", "--out", out)
    ray.json("submit", "best-response", "--run", "one", *words)
    job = ray.wait("answer", "succeeded", "failed")
    assert job["status"] == "succeeded", ray.csro("logs", "answer").stdout
    assert job["metadata"]["target"] == "one"
    answer = json.loads((Path(out) / "summary.json").read_text())
    assert answer["budget"]["llm_calls"] <= 6
    pool = json.loads((ray.folder / "runs" / "one" / "payoffs.json").read_text())["iterations"][-1]["meta_strategy"][0]
    assert answer["iterations"][0]["opponents"] == pytest.approx({i: w for i, w in pool.items() if w > 0})
    best = answer["iterations"][0]["best_response"]["id"]
    store = store_of(ray, "one")
    before = store.ledger(Budget()).spent()
    assert [e["program"] for e in store.events() if e["type"] == "offer"] == [best]
    assert before.llm_calls == 32, "the best response spent the run's own budget"
    run = str(ray.folder / "runs" / "one")
    local = ("--set", "execution=local", "--set", "psro.iterations=3")
    finished(ray.csro("run", "one", "--resume", "--out", run, *local))
    summary = json.loads((Path(run) / "summary.json").read_text())
    assert any(best in path.name for path in (Path(run) / "policies").iterdir())
    assert len(summary["iterations"]) == 3
    for replayed in (run, out):
        assert ray.json("replay", replayed)["identical"] is True


def test_two_runs_share_the_cluster_and_nothing_else(ray: Cluster) -> None:
    submit(ray, "left", "--set", "budget.llm_calls=20")
    submit(ray, "right", "--set", "budget.llm_calls=24", "--set", "seed=7")
    for name, calls in (("left", 20), ("right", 24)):
        job = ray.wait(name, "succeeded", "failed")
        assert job["status"] == "succeeded", ray.csro("logs", name).stdout
        assert job["metadata"]["budget"] == f"llm_calls={calls}"
        store = store_of(ray, name)
        assert store.ledger(Budget()).spent().llm_calls == calls == len(completion_keys(store))
    assert commits(store_of(ray, "left")) != commits(store_of(ray, "right"))


HERE_AND_ELSEWHERE = """
import platform, sys
from workers.jobs import JobServer
here = JobServer(sys.argv[1]).is_local
platform.node = lambda: "laptop"
print(here, JobServer(sys.argv[1]).is_local)
"""


def test_the_near_end_of_a_tunnel_is_not_the_cluster(ray: Cluster) -> None:
    """Elsewhere, jobs would be given paths of another machine. In a process of its own: Ray reads its settings once."""
    words = [sys.executable, "-c", HERE_AND_ELSEWHERE, ray.url]
    found = subprocess.run(words, env={**os.environ, **ray.environment}, capture_output=True, text=True, check=False)
    assert found.stdout.split() == ["True", "False"], found.stderr


def test_doctor_looks_at_the_cluster_too(ray: Cluster) -> None:
    found = ray.json("doctor", "--address", ray.url)["cluster"]
    assert found["ok"] is True
    assert list(found["machines"].values()) == ["takes csro's work"]
    unreachable = ray.json("doctor", "--address", "http://127.0.0.1:1", status=1)["cluster"]
    assert unreachable["ok"] is False
    assert "http://127.0.0.1:1" in unreachable["problem"]


def test_who_has_no_token_is_refused(ray: Cluster) -> None:
    for mode in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN_PATH": str(ray.folder / "wrong")}):
        (ray.folder / "wrong").write_text("f" * 32)
        refused = ray.csro("jobs", **mode)
        assert refused.returncode == 1
        assert len(refused.stderr.strip().splitlines()) == 1
        assert "token" in refused.stderr


def test_who_has_no_password_is_refused(ray: Cluster) -> None:
    refused = ray.csro("watch", "one", CSRO_REDIS_URL=ray.redis_url.replace(PASSWORD, "guess"))
    assert refused.returncode == 1
    assert "refused our name or password" in refused.stderr
    assert "guess" not in refused.stderr


def test_keys_reach_the_provider_and_nothing_that_stays(ray: Cluster) -> None:
    secrets = ray.folder / "secrets.env"
    with Loopback(offline_answers(1)) as provider:
        secrets.write_text(secrets.read_text() + f"OPENAI_BASE_URL={provider.openai_url}\n")
        submit(ray, "keyed", "--set", "llm.model=openai:m", "--set", "archive.proposals=4")
        job = ray.wait("keyed", "succeeded", "failed")
        assert job["status"] == "succeeded", ray.csro("logs", "keyed").stdout
        assert len(provider.billed) == 8
    described = json.dumps(ray.json("jobs")) + ray.csro("watch", "keyed", "--once").stdout
    everything = [path for root in (ray.folder, ray.temp) for path in root.rglob("*") if path.is_file()]
    assert any("logs" in path.parts for path in everything)
    for canary in (API_KEY, PASSWORD):
        assert canary not in described
        found = [path for path in everything if canary.encode() in path.read_bytes()]
        assert found == [secrets]
        for pid in session_processes(ray.temp):
            with contextlib.suppress(OSError):
                assert canary.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
                assert canary.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
