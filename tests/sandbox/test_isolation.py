"""The level is what a canary found, and where it is too low the error says which layer and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from games.briefs import ALLOWED_MODULES
from games.repeated_rps import RepeatedRPS
from sandbox import isolation, zygote
from sandbox.faults import SandboxError
from sandbox.isolation import build_report
from sandbox.jail import CHILD_LAYERS
from sandbox.limits import Limits
from sandbox.lockstep import MatchRecord
from sandbox.referee import Referee, probe_isolation

ALL = (
    "user_namespace",
    "mount_namespace",
    "net_namespace",
    "ipc_namespace",
    "pid_namespace",
    "empty_root",
    *CHILD_LAYERS,
)
HERE = Path(__file__).parent


def report(*missing: str, allowed: tuple[str, ...] = ()) -> isolation.IsolationReport:
    layers = tuple(layer for layer in ALL if layer not in missing)
    failed = dict.fromkeys(missing, "refused")
    return build_report(layers, failed, allowed, landlock_abi=7, kernel="6.1", modules=())


@pytest.mark.parametrize(
    ("missing", "level"),
    [((), 4), (("empty_root",), 3), (("net_namespace",), 3), (("landlock",), 2), (("seccomp",), 1), (("rlimits",), 0)],
)
def test_levels(missing: tuple[str, ...], level: int) -> None:
    assert report(*missing).level == level


def test_a_probe_that_gets_through_costs_the_level() -> None:
    assert report(allowed=("fork",)).level == 1
    assert "a canary could still do fork" in report(allowed=("fork",)).shortfall(3)


def test_the_shortfall_is_one_line_naming_layer_and_remedy() -> None:
    text = report("landlock").shortfall(3)
    assert "\n" not in text
    assert "landlock: refused" in text and "Linux >= 5.13" in text and "allow_weak" in text
    assert report().shortfall(4) == ""


def test_this_machine_reaches_the_default_minimum(referee: Referee) -> None:
    found = referee.isolation
    assert found.level >= 3
    assert set(CHILD_LAYERS) <= set(found.layers)
    assert found.allowed_probes == ()
    assert set(json.loads(json.dumps(found.to_json()))) == {
        "level", "layers", "landlock_abi", "kernel", "allowed_probes", "missing",
    }  # fmt: skip
    assert set(ALLOWED_MODULES) <= set(found.modules), "a prompt promises modules that the sandbox does not have"


def test_children_share_no_writable_memory_with_anyone(referee: Referee) -> None:
    """What one process wrote there after a fork, another would read."""
    first = referee._running().pid
    family = [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
    try:
        mappings = [line for pid in family for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    except PermissionError:
        pytest.skip("needs root: the fork server cannot be looked into")
    assert len(mappings) > 100
    assert not [line for line in mappings if line.split()[1].startswith("rw") and line.split()[1].endswith("s")]


def test_probing_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe_isolation(Limits(min_level=4)).level >= 3
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    found = probe_isolation()
    assert found.level == 0
    assert "cannot start" in found.missing["zygote"]


CAGED = """
import json, sys
import cages
cages.enter(sys.argv[1])
from sandbox.faults import SandboxError
from sandbox.limits import Limits
from sandbox.referee import Referee, probe_isolation
from games.repeated_rps import RepeatedRPS
answer = {"probed": probe_isolation().to_json()}
try:
    Referee()
except SandboxError as error:
    answer["error"] = str(error)
with Referee(Limits(allow_weak=True)) as referee:
    outcome = referee.play(RepeatedRPS(num_rounds=5), ["def policy(o): return 1"] * 2, seeds=[1])[0]
    answer["returns"] = outcome.returns
print(json.dumps(answer))
"""


@pytest.mark.parametrize(("cage", "level", "layer"), [("no_landlock", 2, "landlock"), ("no_seccomp", 1, "seccomp")])
def test_on_older_kernels(cage: str, level: int, layer: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CAGED, cage],
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    assert answer["probed"]["level"] == level
    assert layer in answer["probed"]["missing"] and layer not in answer["probed"]["layers"]
    assert f"sandbox level {level} is below the minimum 3" in answer["error"] and layer in answer["error"]
    assert answer["returns"] == [0.0, 0.0]


def test_play_can_ask_for_more_than_the_referee_was_made_with() -> None:
    with Referee(Limits(min_level=1)) as own:
        with pytest.raises(SandboxError, match="below the minimum 5"):
            own._require_level(Limits(min_level=5))
        own._require_level(Limits(min_level=5, allow_weak=True))


ELSEWHERE = """
import os, resource, runpy, sys
sys.platform = "darwin"
sys.path.insert(0, {root!r})
for name in ("setresuid", "setresgid", "memfd_create", "sched_setaffinity", "unshare", "pidfd_open"):
    if hasattr(os, name):
        delattr(os, name)
set_limit = resource.setrlimit
def refuse(kind, limits):
    if kind == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    set_limit(kind, limits)
resource.setrlimit = refuse
runpy.run_path({zygote!r}, run_name="__main__")
"""


def test_on_another_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A macOS as far as the fork server can tell: level 0, every layer with what to do, and nothing runs unasked."""
    pretence = tmp_path / "zygote.py"
    pretence.write_text(ELSEWHERE.format(root=str(HERE.parents[1]), zygote=zygote.__file__))
    monkeypatch.setattr(zygote, "__file__", str(pretence))
    found = probe_isolation()
    assert found.level == 0 and found.layers == ()
    for layer in ("rlimits", "no_capabilities", "no_new_privs", "seccomp", "landlock", "user_namespace"):
        assert "inux" in found.missing[layer] or "namespaces" in found.missing[layer], found.missing[layer]
    with pytest.raises(SandboxError, match=r"level 0 is below the minimum 3 \(rlimits: .*run on Linux.*allow_weak"):
        Referee()
    with Referee(Limits(allow_weak=True)) as weak:
        outcome = weak.play(RepeatedRPS(num_rounds=5), ["def policy(o): return 1"] * 2, seeds=[1])[0]
        assert isinstance(outcome, MatchRecord)
