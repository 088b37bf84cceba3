"""The referee's end of the zygote: starts it, asks it for children, kills and reaps them."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path

import msgpack
import numpy as np

from sandbox import zygote
from sandbox.child import Child, ChildQuota, ForkRefused, Usage, make_pipe, wait_readable
from sandbox.faults import SandboxError
from sandbox.isolation import IsolationReport, build_report
from sandbox.jail import CHILD_LAYERS
from sandbox.wire import BROKEN, HELLO

UNPRIVILEGED_UID = 65534
_START_TIMEOUT_S, _REPLY_TIMEOUT_S = 60.0, 20.0
_FORK_PATIENCE_S, _FORK_PAUSE_S = 5.0, 0.05
"""A limit on processes may be reached for a moment only, by other workers of the same container."""
_CANARY_BYTES = 64 << 20
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "LC_ALL": "C.UTF-8",
}

_INHERITED = ("LD_LIBRARY_PATH",)  # some Pythons do not start without it


class ZygoteLost(SandboxError):  # noqa: N818  a state, told to the operator as a SandboxError
    """The zygote died or stopped answering; a new one may do."""


class ZygoteClient:
    """One zygote process. Keeps idle children ready, for the quota that was asked for last. Not thread-safe.

    Raises :class:`SandboxError` if no zygote can be started, :class:`ZygoteLost` once it is gone.
    """

    def __init__(self, core: int | None = None) -> None:
        ours, theirs = socket.socketpair()
        self._control = ours
        self._control.settimeout(_START_TIMEOUT_S)
        with theirs:
            self._process = _start(theirs.fileno())
        self._expected: deque[Child] = deque()  # asked for, pid not yet read
        self._idle: deque[Child] = deque()
        try:
            zygote.send_message(ours, json.dumps(asdict(_settings(core))).encode())
            self.isolation = self._introduce()
        except (OSError, ValueError, TypeError) as error:
            self.close()
            raise SandboxError(f"the sandbox's fork server did not start: {error}") from error
        except SandboxError:
            self.close()
            raise
        self._control.settimeout(_REPLY_TIMEOUT_S)

    @property
    def pid(self) -> int:
        """Of the process that was started; with a pid namespace the zygote itself is its only child."""
        return self._process.pid

    def _introduce(self) -> IsolationReport:
        size = struct.unpack("<I", self._receive(4))[0]
        introduction = zygote.Introduction(**json.loads(self._receive(size)))
        canary = self._run_canary()
        layers = [layer for layer in CHILD_LAYERS if layer in canary["layers"]]
        self._send(zygote.LAYERS, sum(1 << CHILD_LAYERS.index(layer) for layer in layers))
        return build_report(
            (*introduction.layers, *layers),
            {**introduction.failed, **canary["failed"]},
            tuple(canary["allowed"]),
            landlock_abi=introduction.landlock_abi,
            kernel=introduction.kernel,
            modules=tuple(introduction.modules),
        )

    def _run_canary(self) -> dict[str, dict[str, str]]:
        child = self._fork(zygote.CANARY, ChildQuota(_CANARY_BYTES, os.getpid()))
        report = b""
        deadline = time.monotonic() + _REPLY_TIMEOUT_S
        while wait_readable(child.read_fd, deadline - time.monotonic()) and (chunk := os.read(child.read_fd, 1 << 16)):
            report += chunk
        usage = self.kill(child)
        if not report or report.startswith(BROKEN):
            reason = report[1:].decode(errors="replace") or "no report"
            raise SandboxError(f"the sandbox's canary failed: {reason} (wait status {usage.status})")
        fields: dict[str, dict[str, str]] = json.loads(report)
        return fields

    # -- children ------------------------------------------------------------------------------------------------
    def spawn(self, quota: ChildQuota) -> Child:
        """A child whose layers are on and that has seen no program yet: an idle one if there is one.

        Raises :class:`ForkRefused` if the kernel has not given one for some seconds.
        """
        self._settle()
        while self._idle:
            child = self._idle.popleft()
            if child.exists and child.quota.serves(quota):
                break
            self.discard(child)
        else:
            child = self._fork(zygote.SPAWN, quota)
        self._greet(child)
        return child

    def _fork(self, operation: bytes, quota: ChildQuota) -> Child:
        give_up = time.monotonic() + _FORK_PATIENCE_S
        while True:
            child = self._request(operation, quota)
            self._settle()
            if child.exists:
                return child
            self.discard(child)
            if time.monotonic() > give_up:
                reason = f"no process could be started: {os.strerror(-child.pid)}"
                raise ForkRefused(f"{reason}; raise the limit on processes (ulimit -u, the container's pids limit)")
            time.sleep(_FORK_PAUSE_S)

    def prefork(self, quota: ChildQuota, count: int) -> None:
        """Has up to ``count`` idle children made ready, without waiting for them."""
        while self._idle and not self._idle[0].quota.serves(quota):
            self.discard(self._idle.popleft())
        for _ in range(count - len(self._idle)):
            self._idle.append(self._request(zygote.SPAWN, quota))

    def kill(self, child: Child) -> Usage:
        """Kills and reaps ``child`` and closes its pipes."""
        self._settle()
        child.close_pipes()
        self._send(zygote.KILL, child.pid)
        return Usage(*zygote.REPLY.unpack(self._receive(zygote.REPLY.size)))

    def discard(self, child: Child) -> None:
        """:meth:`kill` without waiting for it to be done: nobody asks how the child ended."""
        self._settle()
        child.close_pipes()
        if child.exists:
            self._send(zygote.DISCARD, child.pid)

    def alarm(self, child: Child) -> None:
        """Sends SIGALRM: the soft deadline."""
        self._send(zygote.ALARM, child.pid)

    def cpu_s(self, child: Child) -> float:
        """Processor seconds ``child`` has used so far."""
        self._settle()
        self._send(zygote.CPU_TIME, child.pid)
        used: float = zygote.REPLY.unpack(self._receive(zygote.REPLY.size))[1]
        return used

    def _request(self, operation: bytes, quota: ChildQuota) -> Child:
        child_in, our_write = make_pipe()
        try:
            our_read, child_out = make_pipe()
        except ForkRefused:
            os.close(child_in)
            os.close(our_write)
            raise
        os.set_blocking(our_write, False)
        child = Child(quota, our_read, our_write)
        try:
            message = zygote.REQUEST.pack(operation, quota.memory_bytes, quota.cpu_s)
            socket.send_fds(self._control, [message], [child_in, child_out])
        except OSError as error:
            child.close_pipes()
            raise ZygoteLost(f"the sandbox's fork server is gone: {error}") from error
        finally:
            os.close(child_in)
            os.close(child_out)
        self._expected.append(child)
        return child

    def _settle(self) -> None:
        """Reads the pids of children asked for since; replies come in the order of requests."""
        while self._expected:
            self._expected[0].pid = zygote.REPLY.unpack(self._receive(zygote.REPLY.size))[0]
            self._expected.popleft()

    def _greet(self, child: Child) -> None:
        hello = os.read(child.read_fd, 1) if wait_readable(child.read_fd, _REPLY_TIMEOUT_S) else b""
        if hello == HELLO:
            return
        reason = os.read(child.read_fd, 500).decode(errors="replace") if hello == BROKEN else "no greeting"
        usage = self.kill(child)
        raise SandboxError(f"a sandbox process could not close its jail: {reason} (wait status {usage.status})")

    # -- the control socket --------------------------------------------------------------------------------------
    def _send(self, operation: bytes, first: int, second: int = 0) -> None:
        try:
            self._control.sendall(zygote.REQUEST.pack(operation, first, second))
        except OSError as error:
            raise ZygoteLost(f"the sandbox's fork server is gone: {error}") from error

    def _receive(self, size: int) -> bytes:
        data = b""
        try:
            while len(data) < size and (chunk := self._control.recv(size - len(data))):
                data += chunk
        except OSError as error:
            raise ZygoteLost(f"the sandbox's fork server does not answer: {error}") from error
        if len(data) < size:
            raise ZygoteLost("the sandbox's fork server is gone")
        return data

    def close(self) -> None:
        """Ends the zygote and with it every child. Safe to call twice."""
        if self._control.fileno() < 0:
            return
        self._control.close()
        for child in (*self._idle, *(c for c in self._expected if c not in self._idle)):
            child.close_pipes()
        self._idle.clear()
        self._expected.clear()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _settings(core: int | None) -> zygote.Settings:
    package_paths = [Path(module.__file__ or "").parent.parent for module in (zygote, np, msgpack)]
    return zygote.Settings(-1 if core is None else core, UNPRIVILEGED_UID, tuple(map(str, package_paths)))


def _start(control_fd: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-s", "-P", str(Path(zygote.__file__)), str(control_fd)]
    try:
        return subprocess.Popen(
            command,
            env={**_ENVIRONMENT, **{name: os.environ[name] for name in _INHERITED if name in os.environ}},
            pass_fds=(control_fd,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxError(f"cannot start the sandbox's Python {sys.executable}: {error.strerror}") from error
