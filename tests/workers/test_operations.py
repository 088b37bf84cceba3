"""Runs as wholes: listed, watched, exported and imported, cleared away; nothing of a run under way is touched."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from evolve.archive.core import ArchiveSettings
from evolve.archive.inventory import dump_run, run_ids
from evolve.archive.redis import Connection, RedisStore, open_store
from evolve.archive.server import ensure_server, running_server, stop_server
from evolve.candidate import Candidate
from evolve.llm.budget import Budget, Usage
from evolve.llm.core import Completion, Prompt
from evolve.program import Program
from evolve.scoring import Scored
from workers import archive_file
from workers.cli import main
from workers.errors import UsageError
from workers.experiment import Experiment
from workers.run_directory import RunDirectory
from workers.status import Status


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("CSRO_REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for data in tmp_path.rglob("store"):
        stop_server(data)


FLIGHT = ArchiveSettings(num_islands=1, proposals=4, lease_s=1e6)


def make_run(run_id: str, phase: str = "ended") -> Path:
    """A run of some keys of every kind, whose driver left its server behind."""
    directory, experiment = RunDirectory.create(replace(Experiment(), run_id=run_id), run_id, None)
    store = open_store(run_id, directory.store)
    store.save("experiment", {"toml": experiment.to_toml()})
    store.save("status", Status(run_id, "g", "csro", "o", "m", phase=phase, iteration=3, t_s=time.time()).to_record())
    store.completions.put("key", Prompt("s", "u"), Completion("text \ud83d", "m", 1, 2, None, 0.1))
    ledger = store.ledger(Budget())
    ledger.settle("key", Usage(1, 1, 2))
    for number in range(1200):
        store.log({"type": "island", "number": number})
    archive = store.archive("br-000", FLIGHT)
    archive.found([Candidate(Program("class Policy: pass"), Scored(1.0, 0.1, {}))])
    for worker in ("gone", "gone too"):
        archive.claim(worker)
    store.connection.call("ZADD", "{csro:" + run_id + "}:z", "0.1", "a", "-3e300", "b")
    directory.write_text("policies/0-00-seed-1.py", "class Policy: pass\n")
    store.close()
    return directory.path.absolute()


def contents(url: str, run_id: str) -> list[Any]:
    connection = Connection(url)
    try:
        entries = dump_run(connection, run_id)
        return [(name, kind, sorted(parts) if kind == "hash" else parts) for name, kind, parts in entries]
    finally:
        connection.close()


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    assert main([*words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("shared", [False, True])
def test_an_exported_run_is_imported_whole(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    path = make_run("one")
    before = contents(str(running_server(path / "store")), "one")
    assert {kind for _, kind, _ in before} == {"string", "hash", "list", "zset", "stream"}
    found = said(capsys, "export", "one", "one.tar.gz")
    assert found["keys"] == len(before)
    other = here / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    if shared:
        monkeypatch.setenv("CSRO_REDIS_URL", ensure_server(other / "shared" / "store"))
    imported = said(capsys, "import", str(here / "one.tar.gz"))
    directory = Path(imported["run_directory"])
    assert (directory / "policies" / "0-00-seed-1.py").read_text() == "class Policy: pass\n"
    assert RunDirectory.open(directory)[1].run_id == "one"
    url = os.environ["CSRO_REDIS_URL"] if shared else ensure_server(directory / "store")
    assert contents(url, "one") == before
    store = RedisStore(url, "one")
    assert store.ledger(Budget()).spent().llm_calls == 1
    assert len(store.events()) == 1200
    archive = store.archive("br-000", FLIGHT)
    # Who held the proposals in flight did not come along; the later two are new.
    assert [(t.index, t.attempt) for t in map(archive.claim, "abcd") if t] == [(0, 2), (1, 2), (2, 1), (3, 1)]
    assert main(["import", str(here / "one.tar.gz"), "--out", "second"]) == (2 if shared else 0)


def test_export_and_import_refuse_what_is_there(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    make_run("one")
    said(capsys, "export", "one")
    for words in (["export", "one"], ["import", "one.tar.gz"], ["import", "nowhere.tar.gz"], ["export", "oen"]):
        assert main(words) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def tampered(source: Path, target: Path, change: dict[str, bytes | None]) -> None:
    with tarfile.open(source) as archive:
        parts = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    with tarfile.open(target, "w:gz") as archive:
        for name, content in {**parts, **change}.items():
            if content is not None:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    "change",
    [
        {"run/../../escaped": b"x"},
        {"/etc/escaped": b"x"},
        {"run/store/server.binary": b"/bin/sh"},
        {"store.msgpack": b"\x00garbage"},
        {"store.msgpack": msgpack.packb([("schema", "string", [b"1"])])},
        {"manifest.json": b"{}"},
        {"manifest.json": None},
    ],
)
def test_a_tampered_archive_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str], here: Path, change: dict[str, bytes | None]
) -> None:
    make_run("one")
    said(capsys, "export", "one", "good.tar.gz")
    tampered(here / "good.tar.gz", here / "bad.tar.gz", change)
    assert main(["import", "bad.tar.gz", "--out", "elsewhere"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (here / "elsewhere").exists()
    assert not (here.parent / "escaped").exists()


def test_a_cut_off_archive_is_refused(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    make_run("one")
    said(capsys, "export", "one", "good.tar.gz")
    whole = (here / "good.tar.gz").read_bytes()
    (here / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    assert main(["import", "cut.tar.gz", "--out", "elsewhere"]) == 2
    assert "no archive of a run" in capsys.readouterr().err


def test_runs_and_watch_say_what_each_does(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("done")
    make_run("searching", "searching")
    listed = {row["run_id"]: row for row in said(capsys, "runs")}
    assert listed["done"]["state"] == "ended"
    assert listed["searching"]["state"] == "searching"
    assert listed["done"]["iteration"] == 3
    assert said(capsys, "watch", "searching", "--once")["state"] == "searching"
    assert main(["watch", "serching", "--once"]) == 2
    assert "did you mean searching" in capsys.readouterr().err


def test_gc_clears_what_is_dead_and_leaves_what_lives(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    dead, live = make_run("dead"), make_run("live", "searching")
    sessions = here / "ray"
    (sessions / "session_dead").mkdir(parents=True)
    (sessions / "session_live").mkdir()
    (sessions / "session_latest").symlink_to(sessions / "session_live")
    with subprocess.Popen(["sh", "-c", "sleep 60; :", str(sessions / "session_live")]) as process:
        words = ("gc", "--ray-temp", str(sessions))
        planned = said(capsys, *words)
        assert planned["done"] is False
        assert running_server(dead / "store") is not None
        assert len(planned["found"]) == 2
        said(capsys, *words, "--yes")
        process.kill()
    assert running_server(dead / "store") is None
    assert running_server(live / "store") is not None
    assert sorted(p.name for p in sessions.iterdir()) == ["session_latest", "session_live"]
    assert dead.exists()


def test_gc_removes_old_runs_on_request(
    capsys: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSRO_REDIS_URL", ensure_server(here / "shared" / "store"))
    old, new, live = make_run("old"), make_run("new"), make_run("live", "searching")
    killed = make_run("killed")
    (old / "summary.json").write_text("{}")
    long_ago = time.time() - 40 * 86_400
    for directory in (old, live, killed):
        for path in (directory, *directory.rglob("*")):
            os.utime(path, (long_ago, long_ago))
    said(capsys, "gc", "--older-than", "30", "--ray-temp", str(here / "none"), "--yes")
    assert not old.exists()
    assert killed.exists(), "a run that can go on is kept"
    assert new.exists()
    assert live.exists()
    connection = Connection(os.environ["CSRO_REDIS_URL"])
    assert run_ids(connection) == ["killed", "live", "new"]
    connection.close()


def test_a_reader_that_goes_away_is_no_defect() -> None:
    words = [sys.executable, "-m", "workers.cli", "runs"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/elsewhere", "..", "a/b", "a b", 7])
def test_an_archive_names_no_place_outside(tmp_path: Path, name: object) -> None:
    path = tmp_path / "run.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        record = {"format": archive_file.FORMAT, "run_id": name, "csro": "0", "keys": 0, "files": 0}
        for member, content in (("manifest.json", json.dumps(record).encode()), ("store.msgpack", msgpack.packb([]))):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with pytest.raises(UsageError, match="no run may be called"):
        archive_file.import_run(path, None, None)
