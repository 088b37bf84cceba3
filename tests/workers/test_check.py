"""``csro check``: each outcome by a real program, and each limit of the sandbox by its experiment key."""

from __future__ import annotations

import json
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest

from sandbox.faults import FaultKind
from sandbox.limits import Limits
from workers.cli import main

BUSY = """
import time
def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
"""
PROGRAMS = {
    "ok": "def policy(observation): return 0",
    "syntax_error": "def policy(observation) return 0",
    "import_error": "import requests\ndef policy(observation): return 0",
    "runtime_error": "def policy(observation): return [0][observation['round']]",
    "timeout": "def policy(observation):\n    while observation['round'] > 2: pass  # stuck\n    return 0",
    "memory": "def policy(observation): return len([0] * (1 << 33)) % 3",
    "illegal_action": "def policy(observation): return 'rock'",
    "output_flood": "def policy(observation):\n    print('x' * 100_000)\n    return 0",
    "killed": "import os\ndef policy(observation): os._exit(0)",
}
SAYS = {
    "ok": "",
    "syntax_error": "line 1",
    "import_error": "no module 'requests' in the sandbox",
    "runtime_error": "IndexError",
    "timeout": "move_timeout_s=0.3",
    "memory": "memory_bytes=",
    "illegal_action": "a move must be an int below 3 or a distribution, got str",
    "output_flood": "printed more than 8192 bytes",
    "killed": "ended itself with exit code 0",
}


def check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, object]]]:
    status = main(["check", *words, "--game", "repeated_rps", "--set", "game.num_rounds=10", "--json"])
    return status, json.loads(capsys.readouterr().out)


def write(directory: Path, name: str, source: str) -> str:
    file = directory / f"{name}.py"
    file.write_text(textwrap.dedent(source) + "\n")
    return str(file)


def test_every_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(PROGRAMS) == {"ok", *FaultKind}
    files = [write(tmp_path, name, source) for name, source in PROGRAMS.items()]
    status, results = check(capsys, *files, "--set", "sandbox.move_timeout_s=0.3")
    assert status == 1
    assert [result["file"] for result in results] == files
    for result, outcome in zip(results, PROGRAMS, strict=True):
        assert result["outcome"] == outcome, result
        assert SAYS[outcome] in str(result["detail"])
        assert result["level"] == results[0]["level"] and isinstance(result["level"], int)
        assert isinstance(result["wall_s"], float) and result["wall_s"] > 0
        assert bool(result["detail"]) is (outcome != "ok")
    stuck = results[list(PROGRAMS).index("timeout")]
    assert stuck["wall_s"] >= 0.3  # type: ignore[operator]
    assert "line 2, in policy" in str(stuck["traceback"]) and "pass  # stuck" in str(stuck["traceback"])


AT_LOAD = f"{BUSY}busy(0.4)\ndef policy(observation): return 0"
AT_A_MOVE = f"{BUSY}def policy(observation):\n    busy(0.4 if observation['round'] == 3 else 0)\n    return 0"
TIDIES_UP = f"""{BUSY}
def policy(observation):
    try:
        while True: int()
    finally:
        busy(SECONDS)
"""
AT_EACH_MOVE = f"{BUSY}def policy(observation):\n    busy(0.1)\n    return 0"
LIMITS = {
    # a program, the limit that stops it, what it comes to, what it is told
    "load_timeout_s": (AT_LOAD, "0.2", "timeout", "load_timeout_s=0.2"),
    "move_timeout_s": (AT_A_MOVE, "0.2", "timeout", "move_timeout_s=0.2"),
    "cpu_s": (AT_EACH_MOVE, "0.1", "timeout", "cpu_s=0.1"),
    "memory_bytes": ("def policy(o): return bytearray(80 << 20)[0]", str(48 << 20), "memory", "memory_bytes=50331648"),
    "output_bytes": ("def policy(o):\n    print('x' * 100)\n    return 0", "1000", "output_flood", "more than 1000"),
    "source_bytes": ("def policy(o): return 0  # " + "x" * 300, "200", "syntax_error", "source_bytes=200"),
}


AMPLE = {"load_timeout_s": "60", "move_timeout_s": "60", "cpu_s": "120"}
"""So that a slow machine meets no other limit than the one that is tried."""


def sets(limits: dict[str, str]) -> list[str]:
    return [word for name, value in limits.items() for word in ("--set", f"sandbox.{name}={value}")]


@pytest.mark.slow
def test_each_limit_is_set_in_the_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: write(tmp_path, name, LIMITS[name][0]) for name in LIMITS}
    assert {r["outcome"] for r in check(capsys, *files.values(), *sets(AMPLE))[1]} == {"ok"}
    for name, (_, value, outcome, words) in LIMITS.items():
        limited = check(capsys, files[name], *sets({**AMPLE, name: value}))[1][0]
        assert limited["outcome"] == outcome, (name, limited)
        assert words in str(limited["detail"])


@pytest.mark.slow
def test_the_grace_after_a_deadline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Far longer or far shorter than the grace, for this process may be kept from looking for a second.
    for tidies_s, grace_s, told in ((1.5, "20.0", "did not answer in time"), (60.0, "0.05", "nor to the alarm")):
        file = write(tmp_path, "program", TIDIES_UP.replace("SECONDS", str(tidies_s)))
        sets = ("--set", "sandbox.move_timeout_s=0.2", "--set", f"sandbox.kill_grace_s={grace_s}")
        found: list[str] = []
        while told not in "".join(found[-1:]) and len(found) < 3:
            # An alarm that meets a program which was kept from entering its try ends it without tidying.
            (result,) = check(capsys, file, *sets)[1]
            assert result["outcome"] == "timeout"
            found.append(str(result["detail"]))
        assert told in found[-1], found


def test_a_level_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "program", PROGRAMS["ok"])
    words = ["check", file, "--game", "repeated_rps", "--set", "sandbox.min_level=5"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "is below the minimum 5" in said.err and len(said.err.strip().splitlines()) == 1
    assert main([*words, "--set", "sandbox.allow_weak=true"]) == 0
    assert "WEAK SANDBOX" in capsys.readouterr().err


def test_files_that_are_no_plain_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that no Python takes fails alone; one that begins as some editors begin it is fine."""
    files = [tmp_path / name for name in ("latin.py", "marked.py", "null.py", "empty.py")]
    contents = b"# \xe9\n", b"\xef\xbb\xbf" + PROGRAMS["ok"].encode(), b"x = '\0'", b""
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    status, results = check(capsys, *map(str, files))
    assert status == 1
    assert [r["outcome"] for r in results] == ["syntax_error", "ok", "syntax_error", "runtime_error"]
    assert "is not UTF-8 text" in str(results[0]["detail"]) and results[0]["level"] == results[1]["level"]


def test_what_a_program_says_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = r"def policy(o): raise ValueError('\x1b[2J\x1b]0;owned\x07 ok\ncsro: all is well \u202e\x9b1m')"
    file = write(tmp_path, "program", source)
    (result,) = check(capsys, file)[1]
    assert result["detail"] == r"ValueError: \x1b[2J\x1b]0;owned\x07 ok csro: all is well \u202e\x9b1m"
    assert main(["check", file, "--game", "repeated_rps"]) == 1
    assert not set(capsys.readouterr().out) & set("\x1b\x07\x9b\u202e")


def test_no_limit_is_forgotten_here() -> None:
    elsewhere = {"simulation_cpu_s", "simulation_memory_bytes"}  # with the games whose programs simulate
    assert {field.name for field in fields(Limits)} == {*LIMITS, *elsewhere, "kill_grace_s", "min_level", "allow_weak"}
