"""The hostile corpus, at the level this machine gives and in two surroundings that have no namespaces."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus_runner import GAME, LIMITS, Judge
from hostile_corpus import CORPUS, ENVIRONMENT_SECRET, Hostile

from sandbox.referee import Referee

HERE = Path(__file__).parent
RUNNABLE = [p for p in CORPUS if "raw_" not in p.name or platform.machine() == "x86_64"]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    os.environ[ENVIRONMENT_SECRET] = "sk-secret"
    canary = Path("/tmp/csro-canary")
    canary.touch()
    with Referee(LIMITS) as referee:
        judge = Judge(referee)
        yield judge
        assert judge._victims_moves() == judge.expected, "the victim plays differently after the corpus"
    assert canary.exists()
    canary.unlink()
    assert not list(Path("/tmp").glob("csro-breach*")) and not list(Path("/dev/shm").glob("csro-breach*"))
    del os.environ[ENVIRONMENT_SECRET]


@pytest.mark.parametrize("program", RUNNABLE, ids=lambda program: program.id)
def test_stopped(judge: Judge, program: Hostile) -> None:
    assert judge.problem(program) == ""


def test_the_judge_sees_a_breach(judge: Judge) -> None:
    assert judge.problem(Hostile("judge", "breach", "def policy(observation): return 2")) == "breach"
    assert "played on" in judge.problem(Hostile("judge", "on", "def policy(o): return 0", frozenset({"killed"})))


def test_root_gets_namespaces_too(judge: Judge) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root")
    if judge.referee.isolation.missing:
        pytest.skip(f"this machine refuses {sorted(judge.referee.isolation.missing)}")
    assert judge.referee.isolation.level == 4


@pytest.fixture(scope="module")
def caged() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Both runs at once: much of the time they wait for deadlines."""
    started = {
        cage: subprocess.Popen(
            [sys.executable, HERE / "corpus_runner.py", cage],
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for cage in (("unprivileged", "docker") if os.getuid() == 0 else ("unprivileged",))
    }
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("cage", ["unprivileged", "docker"])
def test_stopped_at_level_3(caged: dict[str, subprocess.Popen[str]], cage: str) -> None:
    if cage not in caged:
        pytest.skip("needs root, as a container's first process has it")
    output, errors = caged[cage].communicate(timeout=3600)
    assert caged[cage].returncode == 0, errors[-2000:]
    report = json.loads(output)
    assert report["problems"] == {}
    assert report["count"] == len(CORPUS)
    assert report["isolation"]["level"] == 3
    assert "user_namespace" in report["isolation"]["missing"]
    assert report["isolation"]["allowed_probes"] == []


def test_the_corpus_is_what_it_says() -> None:
    assert len(CORPUS) >= 120
    assert len({program.id for program in CORPUS}) == len(CORPUS)
    assert {p.group for p in CORPUS} == {
        "files",
        "processes",
        "network",
        "bombs",
        "exits",
        "protocol",
        "leaks",
        "simulate",
    }
    assert GAME.num_rounds > 1
