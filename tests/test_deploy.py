"""The deployment files: valid to Ray's own checks, consistent with the code, and without a secret."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.head_store import address, make_user, store_url
from evolve.archive.core import StoreUnavailableError
from evolve.archive.redis import Connection
from evolve.archive.server import ensure_server, stop_server
from tests.cluster.cluster import PASSWORD, redis_server
from workers.remote import WORKER_RESOURCE
from workers.settings import experiment_from

DEPLOY = Path(__file__).parent.parent / "deploy"
CLUSTERS = ("cluster.yaml", "cluster_aws.yaml")


def read(name: str) -> Any:
    documents = list(yaml.safe_load_all((DEPLOY / name).read_text()))
    return documents[0] if len(documents) == 1 else documents


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_accepts_the_cluster_and_refuses_a_misspelt_key(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = read(name)
    validate_config(prepare_config(config))
    wrong = {**read(name), "head_start_ray_comands": []}
    with pytest.raises(Exception, match="head_start_ray_comands"):
        validate_config(prepare_config(wrong))


@pytest.mark.parametrize("name", CLUSTERS)
def test_both_ends_start_through_the_same_script(name: str) -> None:
    config = read(name)
    assert config["head_start_ray_commands"] == ["sh ~/csro/deploy/head_service.sh"]
    service = (DEPLOY / "head_service.sh").read_text()
    assert 'sh "$here/deploy/ray_node.sh" head' in service
    assert any("ray_node.sh worker" in command for command in config["worker_start_ray_commands"])
    assert all("--num-cpus" not in command for command in config["worker_start_ray_commands"])


def test_the_script_keeps_work_off_the_head() -> None:
    text = (DEPLOY / "ray_node.sh").read_text()
    for script in DEPLOY.glob("*.sh"):
        subprocess.run(["sh", "-n", str(script)], check=True)
    assert "--head --port=6379 --num-cpus=0" in text
    assert json.dumps({WORKER_RESOURCE: 1000}) in text
    assert "RAY_AUTH_MODE=token" in text


def test_the_head_comes_back_by_itself() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    unit.read(DEPLOY / "csro-head.service")
    service = unit["Service"]
    assert (service["Restart"], unit["Unit"]["StartLimitIntervalSec"]) == ("always", "0")
    assert service["ExecStart"].endswith("/deploy/ray_node.sh head --block")
    assert service["ExecStartPost"].endswith("/deploy/ray_node.sh ready")


class Node:
    """A machine's home with the scripts at ``~/anywhere``. The programs that they start write down how."""

    def __init__(self, home: Path) -> None:
        self.home, self.checkout, self.calls = home, home / "anywhere", home / "calls"
        shutil.copytree(DEPLOY, self.checkout / "deploy")
        (home / ".config" / "csro").mkdir(parents=True)
        self.config("ray_token", "1" * 64)
        (self.checkout / ".venv" / "bin").mkdir(parents=True)
        (self.checkout / ".venv" / ".installed").write_text("one state\n")
        for name in ("ray", "python", "systemctl", "loginctl", "pgrep", "setsid"):
            self.program(name)

    def config(self, name: str, text: str) -> None:
        (self.home / ".config" / "csro" / name).write_text(text)

    def program(self, name: str, status: int = 0) -> None:
        path = self.checkout / ".venv" / "bin" / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >>{self.calls}\nenv >{self.home}/{name}.env\nexit {status}\n')
        path.chmod(0o755)

    def sh(self, *words: str, **more: str) -> tuple[str, str]:
        """Runs a script; what it started, and what it said."""
        self.calls.write_text("")
        path = f"{self.checkout}/.venv/bin:/usr/bin:/bin"
        script = [str(self.checkout / "deploy" / words[0]), *words[1:]]
        environment = {"HOME": str(self.home), "PATH": path, **more}
        result = subprocess.run(["sh", *script], env=environment, capture_output=True, text=True, check=True)
        return self.calls.read_text(), result.stderr


def test_a_head_that_would_end_at_logout_is_no_service(tmp_path: Path) -> None:
    node = Node(tmp_path)
    calls, said = node.sh("head_service.sh")
    assert "systemctl --user enable --now csro-head" in calls and "ray start" not in calls and said == ""
    node.program("loginctl", status=1)
    calls, said = node.sh("head_service.sh")
    assert "systemctl --user disable --now csro-head" in calls and "enable --now csro-head" not in calls
    assert "ray start --head" in calls
    assert "loginctl enable-linger" in said and "nothing will restart the head" in said


def test_the_head_has_the_settings_of_its_file_and_the_path_of_its_csro(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.config("head.env", 'CSRO_CLUSTER=second\nCSRO_BOARD_URL="https://board.example/of all"\n')
    node.config("secrets.env", "")
    calls, _ = node.sh("ray_node.sh", "head", RAY_GRAFANA_HOST="http://grafana:3000")
    assert f"-m deploy.head_store {tmp_path}/.config/csro/secrets.env second" in calls
    found = (tmp_path / "ray.env").read_text().splitlines()
    assert "RAY_GRAFANA_IFRAME_HOST=https://board.example/of all" in found
    assert "RAY_GRAFANA_HOST=http://grafana:3000" in found
    node.sh("head_service.sh")
    unit = (tmp_path / ".config" / "systemd" / "user" / "csro-head.service").read_text()
    assert f"ExecStart=/bin/sh {node.checkout}/deploy/ray_node.sh head --block" in unit
    assert unit.count(str(node.checkout)) == 2 and "%h" not in unit.partition("[Unit]")[2]


def test_a_worker_starts_again_after_an_upgrade_or_with_a_new_token(tmp_path: Path) -> None:
    node = Node(tmp_path)
    words = ("ray_node.sh", "worker", "--address=10.0.0.1:6379")

    def starts() -> bool:
        calls, said = node.sh(*words, RAY_HEAD_IP="10.0.0.1")
        assert ("ray start" in calls) != ("runs here already" in said)
        return "ray stop\nray start" in calls

    assert starts()
    assert not starts()
    (node.checkout / ".venv" / ".installed").write_text("another state\n")
    assert starts()
    assert not starts()
    node.config("ray_token", "2" * 64)
    assert starts()
    assert not starts()
    node.program("pgrep", status=1)
    assert starts(), "no raylet is left here"


def test_the_set_up_mends_an_environment_whose_python_is_gone(tmp_path: Path) -> None:
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "pip").mkdir()  # one that installs nothing: what it would, needs a network
    for path in ("pyproject.toml", "constraints.txt", "sandbox/plain_rounds.c", "pip/__init__.py", "pip/__main__.py"):
        (tmp_path / path).touch()
    venv = tmp_path / "venv"

    def set_up() -> str:
        words = ["sh", str(DEPLOY / "setup.sh"), str(venv)]
        environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(tmp_path)}
        result = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return result.stderr

    assert "installing" in set_up()
    assert "nothing new" in set_up()
    for path in venv.glob("bin/python*"):
        path.unlink()
        path.symlink_to("/gone/python3")
    assert "installing" in set_up()
    subprocess.run([venv / "bin" / "python", "-c", "import pip"], check=True)


def test_the_script_asks_for_the_token(tmp_path: Path) -> None:
    result = subprocess.run(
        ["sh", str(DEPLOY / "ray_node.sh"), "worker"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "ray_token" in result.stderr


def test_kubernetes_files_fit_each_other_and_the_code() -> None:
    cluster, (config, job) = read("kuberay/raycluster.yaml"), read("kuberay/rayjob.yaml")
    head, workers = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"][0]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert json.loads(json.loads(workers["rayStartParams"]["resources"])) == {WORKER_RESOURCE: 1000}
    assert set(json.loads(job["spec"]["entrypointResources"])) == {WORKER_RESOURCE}
    assert job["spec"]["clusterSelector"]["ray.io/cluster"] == cluster["metadata"]["name"]
    assert "backoffLimit" not in job["spec"], "refused with clusterSelector; older operators delete the cluster"
    pods = [head["template"]["spec"], workers["template"]["spec"]]
    assert all(volume["secret"]["secretName"] == "csro-secrets" for pod in pods for volume in pod["volumes"])
    assert all(volume["secret"]["defaultMode"] == 0o400 for pod in pods for volume in pod["volumes"])
    import tomllib

    experiment = experiment_from(tomllib.loads(config["data"]["experiment.toml"]))
    assert experiment.run_id == job["metadata"]["name"]


# The fields of KubeRay's API (ray.io/v1) that may stand where they do; a field of another name is dropped in silence.
KUBERAY_FIELDS = {
    "RayCluster": {
        "authOptions",
        "autoscalerOptions",
        "enableInTreeAutoscaling",
        "gcsFaultToleranceOptions",
        "headGroupSpec",
        "headServiceAnnotations",
        "managedBy",
        "rayVersion",
        "suspend",
        "upgradeStrategy",
        "workerGroupSpecs",
    },
    "RayJob": {
        "activeDeadlineSeconds",
        "backoffLimit",
        "clusterSelector",
        "deletionStrategy",
        "entrypoint",
        "entrypointNumCpus",
        "entrypointNumGpus",
        "entrypointResources",
        "jobId",
        "managedBy",
        "metadata",
        "rayClusterSpec",
        "runtimeEnvYAML",
        "shutdownAfterJobFinishes",
        "submissionMode",
        "submitterConfig",
        "submitterPodTemplate",
        "suspend",
        "ttlSecondsAfterFinished",
    },
}
GROUP_FIELDS = {"rayStartParams", "template", "serviceType", "headService", "enableIngress", "resources", "labels"}
WORKER_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "scaleStrategy"}


def test_kubernetes_files_name_fields_that_the_operator_knows() -> None:
    cluster, (_, job) = read("kuberay/raycluster.yaml"), read("kuberay/rayjob.yaml")
    for resource in (cluster, job):
        assert resource["apiVersion"] == "ray.io/v1"
        assert set(resource["spec"]) <= KUBERAY_FIELDS[resource["kind"]]
    head, workers = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert set(head) <= GROUP_FIELDS
    assert all(set(group) <= GROUP_FIELDS | WORKER_FIELDS for group in workers)
    for group in (head, *workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "the API takes strings"
    assert set(cluster["spec"]["authOptions"]) == {"mode"}
    assert set(cluster["spec"]["gcsFaultToleranceOptions"]) == {
        "redisAddress",
        "redisPassword",
        "externalStorageNamespace",
    }
    assert head["template"]["spec"]["containers"][0]["name"] == "ray-head"
    assert cluster["spec"]["rayVersion"] == metadata.version("ray")


def test_the_image_holds_all_packages_and_compiled_bytecode() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.*)$", text, re.M) for word in line.split()}
    assert {"games", "sandbox", "evolve", "workers", "deploy"} <= copied
    assert all((DEPLOY.parent / word).exists() for word in copied if word != "./")
    assert "compileall" in text
    assert re.search(r"^USER csro$", text, re.M)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("CSRO_REDIS_URL=redis://:pass%40word@store:6380", "store:6380"),
        ("export CSRO_REDIS_URL='rediss://:pw@store'", "rediss://store:6379"),
        ("CSRO_REDIS_URL=unix:///tmp/socket", ""),
        ("OPENAI_API_KEY=x", ""),
    ],
)
def test_the_head_finds_the_store(tmp_path: Path, line: str, found: str) -> None:
    file = tmp_path / "secrets.env"
    file.write_text(f"# keys\n{line}\n")
    url = store_url(file)
    assert (address(url) if url else "") == found
    assert store_url(tmp_path / "none") == ""


def test_the_heads_user_reaches_rays_keys_alone(tmp_path: Path) -> None:
    url = ensure_server(tmp_path / "store")
    try:
        ours = Connection(url)
        ours.call("SET", "{csro:run}:schema", 3)
        make_user(ours, "csro")
        made = make_user(ours, "csro")
        assert made is not None
        name, password = made
        heads = Connection(f"unix://{name}:{password}@{url.removeprefix('unix://')}")
        heads.call("HSET", "RAYcsro@KV", "a", 1)
        heads.call("INFO", "replication")
        heads.call("DEL", "DUMMY")
        heads.call("HSCAN", "RAYcsro@KV", 0)
        listings = (("SCAN", 0), ("RANDOMKEY",), ("DBSIZE",), ("KEYS", "*"))
        others = (("GET", "{csro:run}:schema"), ("HGETALL", "RAYother@KV"), ("FLUSHALL",), ("ACL", "LIST"))
        for words in (*others, *listings):
            with pytest.raises(StoreUnavailableError, match="refused"):
                heads.call(*words)
    finally:
        stop_server(tmp_path / "store")


def head_store(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    (folder / "secrets.env").write_text(f"CSRO_REDIS_URL={url}\n")
    words = [sys.executable, "-m", "deploy.head_store", str(folder / "secrets.env"), "csro"]
    return subprocess.run(words, cwd=DEPLOY.parent, capture_output=True, text=True, check=False)


def test_a_store_that_cannot_be_used_ends_the_head_and_shows_no_password(tmp_path: Path) -> None:
    with redis_server(tmp_path / "store") as url:
        wrong = head_store(tmp_path, url.replace(PASSWORD, "guess"))
        made = head_store(tmp_path, url)
    closed = head_store(tmp_path, url)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.split()[1] == "ray-head-csro" and PASSWORD not in made.stdout
    for result, reason in ((wrong, "password"), (closed, "Connection refused")):
        assert (result.returncode, result.stdout) == (1, "")
        assert reason in result.stderr and len(result.stderr.splitlines()) == 1
        assert PASSWORD not in result.stderr and "guess" not in result.stderr


def test_where_the_store_makes_no_users_the_head_has_our_own_name(tmp_path: Path) -> None:
    with redis_server(tmp_path / "without", "--rename-command", "ACL", "") as url:
        found = [(url, "default", PASSWORD, head_store(tmp_path, url))]
    with redis_server(tmp_path / "forbidden") as url:
        Connection(url).call("ACL", "SETUSER", "customer", "on", ">ours", "~*", "+@all", "-acl")
        theirs = url.replace(f":{PASSWORD}", "customer:ours")
        found.append((theirs, "customer", "ours", head_store(tmp_path, theirs)))
    for url, name, password, result in found:
        assert result.stdout.split() == [address(url), name, password], result.stderr
        assert "no right to ACL SETUSER" in result.stderr and len(result.stderr.splitlines()) == 1


def test_no_deployment_file_holds_a_secret() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix in (".yaml", ".sh", ".service", ".conf"):
            assert not re.search(r"(\bsk-[A-Za-z0-9]{8}|AIza|BEGIN [A-Z ]*PRIVATE KEY)", path.read_text()), path
