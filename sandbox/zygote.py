"""The fork server: a fresh, trusted Python that has imported everything and forks a jailed child per program.

Run as a script with the number of an inherited socket: over it comes its :class:`Settings`, and then it serves one
referee and exits with it. It never sees a program's source, a seed or an opponent's name, for children inherit its
memory.

Isolation levels, proved by a canary child and not inferred from configuration:

    4   level 3, plus user, pid, network, ipc and mount namespaces and an empty root
    3   no_new_privs, seccomp, Landlock and resource limits: the default minimum, also inside Docker
    2   level 3 without Landlock (Linux < 5.13)
    1   resource limits only
    0   a plain process
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import platform
import signal
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

REQUEST = struct.Struct("<c7xQQ")
"""Operation; pid, address-space bytes beyond the zygote's own or layer mask; whole cpu seconds or referee pid."""
REPLY = struct.Struct("<qdQ")
"""Of a spawn: pid, or minus the errno if the kernel refuses. Of a kill: wait status, cpu seconds, peak resident
bytes. Of a cpu query: 0, cpu seconds."""
SPAWN, CANARY, LAYERS, ALARM, KILL, DISCARD, CPU_TIME = b"S", b"P", b"L", b"A", b"K", b"D", b"C"
EXIT_OUT_OF_MEMORY = 96

# No file can be opened once the jail is closed, so this is all that programs can import.
# fmt: off
MODULES = (
    "__future__", "_strptime", "abc", "array", "ast", "bisect", "calendar", "cmath", "collections",
    "collections.abc", "colorsys", "contextlib", "copy", "copyreg", "csv", "dataclasses", "datetime", "decimal",
    "difflib", "dis", "encodings.idna", "encodings.latin_1", "encodings.ascii", "encodings.utf_16", "enum",
    "fractions", "functools", "gc", "graphlib", "hashlib", "heapq", "inspect", "io", "itertools", "json", "keyword",
    "linecache", "logging", "marshal", "math", "numbers", "numpy", "numpy.fft", "numpy.lib.stride_tricks",
    "numpy.linalg", "numpy.ma", "numpy.polynomial", "numpy.random", "numpy.typing", "operator", "os", "pprint",
    "queue", "random", "re", "reprlib", "secrets", "statistics", "string", "struct", "sys", "textwrap", "threading",
    "time", "timeit", "token", "tokenize", "traceback", "types", "typing", "unicodedata", "uuid", "warnings",
    "weakref", "zlib",
)
# fmt: on


@dataclass(frozen=True)
class Settings:
    """How to start: the core to stay on (-1: any), whom to become if root, import path."""

    core: int
    unprivileged_uid: int
    import_path: tuple[str, ...]


@dataclass(frozen=True)
class Introduction:
    """The zygote's first message. ``failed`` maps each zygote layer that could not be had to the reason."""

    layers: tuple[str, ...]
    failed: dict[str, str]
    landlock_abi: int
    kernel: str
    modules: tuple[str, ...] = field(default=())


def _import_modules() -> tuple[str, ...]:
    imported = []
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            imported.append(name)
    return tuple(imported)


def _warm_up() -> None:
    """Runs what imports, loads or reads files only when first used, while there still are files."""
    import hashlib
    import traceback

    import numpy as np

    generator = np.random.default_rng(0)
    np.linalg.solve(np.eye(3), np.ones(3))
    # The linear algebra library takes its work space once, here. Reusing a large temporary makes numpy walk the
    # C stack, for which the C library loads another; if it cannot, the process crashes.
    (np.ones((256, 256)) @ np.ones((256, 256))) * 0.5
    np.linalg.svd(generator.random((3, 3)))
    np.random.RandomState(0).choice(3, p=[0.2, 0.3, 0.5])
    np.fft.fft(np.arange(4.0))
    repr(np.arange(3.0))
    str(np.float64(1.5))
    "é".encode("latin-1").decode("utf-8", "replace")
    time.strptime("2020", "%Y")
    time.localtime()
    hashlib.md5(b"").hexdigest()
    try:
        compile("def f(:", "<warm-up>", "exec")
    except SyntaxError as error:
        traceback.format_exception(error)


def _forget_the_machine() -> None:
    """The module ``platform`` keeps what it was told once; programs may know the system, but not the machine's name."""
    known = platform.uname()
    told = platform.uname_result(known.system, "sandbox", known.release, known.version, known.machine)
    vars(platform)["_uname_cache"] = told


def _enter_jail_world(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """Drops root, enters the namespaces and the empty root; forks, so that the zygote is pid 1 of its own."""
    from sandbox import jail, lowlevel

    failed: dict[str, str] = {}
    if os.getuid() == 0:
        try:
            jail.drop_root(settings.unprivileged_uid)
        except OSError as error:
            failed["unprivileged_uid"] = str(error)
    failed |= jail.enter_namespaces()
    wanted = ["unprivileged_uid", "user_namespace", *jail.NAMESPACES, "empty_root"]
    if "pid_namespace" not in failed:
        _become_first_process()
    if "mount_namespace" in failed:
        failed["empty_root"] = "needs an own mount namespace"
    else:
        try:
            jail.empty_root()
        except OSError as error:
            failed["empty_root"] = str(error)
    failed = {**jail.unverified_namespaces(), **failed}
    with contextlib.suppress(OSError):
        lowlevel.set_dumpable(False)
    return [layer for layer in wanted if layer not in failed], failed


def _become_first_process() -> None:
    """Forks; the old process only waits, so that the referee has a child to wait for."""
    from sandbox import lowlevel

    parent = os.getpid()
    if pid := os.fork():
        lowlevel.close_fds_from(0)
        while True:
            with contextlib.suppress(InterruptedError):
                os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
    lowlevel.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() not in (0, parent):  # the parent is outside this pid namespace, hence 0
        os._exit(1)


class Zygote:
    """The loop: one request at a time, replies in order."""

    def __init__(self, control: socket.socket, own_bytes: int) -> None:
        from sandbox.jail import Jail

        self._control = control
        self._jail = Jail()
        self._layers: frozenset[str] = frozenset()
        self._own_bytes = own_bytes
        self._pid = os.getpid()

    @property
    def landlock_abi(self) -> int:
        return self._jail.landlock_abi

    def serve(self) -> None:
        from sandbox.jail import CHILD_LAYERS

        while True:
            data, fds, _, _ = socket.recv_fds(self._control, REQUEST.size, 2)
            while data and len(data) < REQUEST.size:
                data += self._control.recv(REQUEST.size - len(data)) or os._exit(0)  # type: ignore[func-returns-value]
            if not data:
                os._exit(0)
            operation, first, second = REQUEST.unpack(data)
            if operation in (SPAWN, CANARY):
                self._spawn(operation, first, second, fds)
            elif operation == LAYERS:
                self._layers = frozenset(layer for bit, layer in enumerate(CHILD_LAYERS) if first >> bit & 1)
            elif operation == ALARM:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(first, signal.SIGALRM)
            elif operation == KILL:
                self._control.sendall(self._kill(first))
            elif operation == DISCARD:
                self._kill(first)
            else:
                self._control.sendall(REPLY.pack(0, _process_cpu_s(first), 0))

    def _spawn(self, operation: bytes, extra_bytes: int, cpu_s: int, fds: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:  # the machine's or the container's limit on processes, or no memory
            pid = -(error.errno or errno.EAGAIN)
        if pid == 0:
            self._child(operation, extra_bytes, cpu_s, fds)
        for fd in fds:
            os.close(fd)
        self._control.sendall(REPLY.pack(pid, 0.0, 0))

    def _child(self, operation: bytes, extra_bytes: int, value: int, fds: list[int]) -> None:
        """Never returns. ``value`` is whole cpu seconds, or the referee's pid for a canary."""
        from sandbox import jail, lowlevel, policy_host, wire

        try:
            with contextlib.suppress(OSError):
                lowlevel.set_parent_death_signal(signal.SIGKILL)
            if os.getppid() != self._pid:
                os._exit(1)
            os.dup2(fds[0], 0)
            os.dup2(fds[1], 1)
            lowlevel.close_fds_from(2)
            if operation == CANARY:
                report = jail.run_canary(self._jail, jail.Quota(self._own_bytes + extra_bytes, 5), value)
                wire.write_all(1, json.dumps(asdict(report)).encode())
                os._exit(0)
            alarm = policy_host.prepare()
            self._jail.close(self._layers, jail.Quota(self._own_bytes + extra_bytes, value))
            os.write(1, wire.HELLO)
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError):  # it may be the pipe itself that is broken
                os.write(1, wire.BROKEN + str(error).encode()[:500])
            os._exit(1)
        try:
            policy_host.run(alarm)
        except MemoryError:
            os._exit(EXIT_OUT_OF_MEMORY)
        finally:
            os._exit(0)

    def _kill(self, pid: int) -> bytes:
        """Kills and reaps a child; returns how it ended, as a reply."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        try:
            _, status, usage = os.wait4(pid, 0)
        except ChildProcessError:
            return REPLY.pack(-1, 0.0, 0)
        return REPLY.pack(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10)


def _process_cpu_s(pid: int) -> float:
    """Processor time of a live child; 0 where the platform cannot tell."""
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)  # how Linux numbers another process's cpu clock
    return 0.0


def _address_space_bytes() -> int:
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    return 1 << 30


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    with contextlib.suppress(ConnectionError, EOFError):  # the referee is gone, and so are we
        _serve_referee(control)


def _serve_referee(control: socket.socket) -> None:
    settings = _receive_settings(control)
    sys.path[:0] = [path for path in settings.import_path if path not in sys.path]
    os.umask(0o077)
    if settings.core >= 0:
        os.sched_setaffinity(0, {settings.core})
    modules = _import_modules()
    _warm_up()
    _forget_the_machine()
    from sandbox import jail, policy_host  # noqa: F401  children find both loaded

    own_bytes = _address_space_bytes()
    layers, failed = _enter_jail_world(settings)
    zygote = Zygote(control, own_bytes)
    gc.collect()
    gc.disable()
    gc.freeze()  # children must not touch, and so copy, the zygote's pages
    introduction = Introduction(tuple(layers), failed, zygote.landlock_abi, os.uname().release, modules)
    sys.path.clear()  # there are no files to import; what they are called is nobody's business
    sys.path_importer_cache.clear()
    send_message(control, json.dumps(asdict(introduction)).encode())
    zygote.serve()


def send_message(control: socket.socket, body: bytes) -> None:
    """Of any length: the settings, and the introduction that answers them."""
    control.sendall(struct.pack("<I", len(body)) + body)


def _receive_settings(control: socket.socket) -> Settings:
    with control.makefile("rb") as stream:  # nothing follows the settings before they are answered
        size = stream.read(4)
        body = stream.read(struct.unpack("<I", size)[0]) if len(size) == 4 else b""
    if not body:
        raise EOFError("the referee is gone")
    return Settings(**json.loads(body))


if __name__ == "__main__":
    main()
