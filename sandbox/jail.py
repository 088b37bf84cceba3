"""The layers around untrusted code: in which order they are put on, and a canary that proves they hold.

Stops: reading or writing any file, any socket, any new process or thread, signals to and memory of other
processes, executable memory, and more memory, time or output than :class:`sandbox.limits.Limits` grants.
Does not stop: bugs in the kernel's handling of 12 system calls, microarchitectural side channels, reading
the clock, and a program's matches telling each other things (:mod:`sandbox.audit` finds that afterwards).

Namespaces are entered once by the zygote; the other layers are put on by each child before it sees a line
of the program. A layer that cannot be had is recorded with the reason, never silently skipped.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox import lowlevel

Failures = dict[str, str]
"""Layer -> why it could not be had."""

NAMESPACES = {
    "mount_namespace": lowlevel.CLONE_NEWNS,
    "net_namespace": lowlevel.CLONE_NEWNET,
    "ipc_namespace": lowlevel.CLONE_NEWIPC,
    "uts_namespace": lowlevel.CLONE_NEWUTS,
    "cgroup_namespace": lowlevel.CLONE_NEWCGROUP,
    "pid_namespace": lowlevel.CLONE_NEWPID,
}
CHILD_LAYERS = ("rlimits", "no_capabilities", "no_new_privs", "landlock", "seccomp")
STACK_BYTES = 8 << 20


@dataclass(frozen=True)
class Quota:
    """What one child may use: address space in all (not beyond the zygote's) and whole seconds of processor time."""

    address_space_bytes: int
    cpu_s: int


# --- once, in the zygote -----------------------------------------------------------------------------------------
def drop_root(uid: int) -> None:
    """Becomes ``uid`` for good. ``OSError`` if this container has no CAP_SETUID."""
    if not hasattr(os, "setresuid"):
        raise OSError(errno.ENOSYS, "setresuid: not on this platform")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    lowlevel.set_dumpable(True)  # else /proc/self/uid_map belongs to root and cannot be written below


def enter_namespaces() -> Failures:
    """A user namespace and, inside it, all of :data:`NAMESPACES`. The pid namespace starts at the next fork."""
    failed: Failures = {}
    uid, gid = os.getuid(), os.getgid()
    try:
        lowlevel.unshare(lowlevel.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except OSError as error:
        failed["user_namespace"] = str(error)
    for layer, flag in NAMESPACES.items():
        try:
            lowlevel.unshare(flag)
        except OSError as error:
            failed[layer] = str(error)
    return failed


def empty_root() -> None:
    """Replaces the file system by an empty read-only one. Only inside an own mount namespace."""
    lowlevel.mount("none", "/", None, lowlevel.MS_REC | lowlevel.MS_PRIVATE)
    flags = lowlevel.MS_NOSUID | lowlevel.MS_NODEV | lowlevel.MS_NOEXEC
    place = next(path for path in ("/tmp", "/mnt", "/var") if Path(path).is_dir())
    lowlevel.mount("tmpfs", place, "tmpfs", flags, "size=4k,nr_inodes=2,mode=555")
    os.chdir(place)
    lowlevel.pivot_root(".", ".")
    lowlevel.detach_mount(".")
    os.chdir("/")
    lowlevel.mount("none", "/", None, lowlevel.MS_REMOUNT | lowlevel.MS_RDONLY | flags)


def unverified_namespaces() -> Failures:
    """Looks, from inside, at whether the namespaces are what :func:`enter_namespaces` said."""
    failed: Failures = {}
    if os.getpid() != 1:
        failed["pid_namespace"] = "the zygote is not process 1"
    if len(socket.if_nameindex()) > 1:
        failed["net_namespace"] = "network interfaces are visible"
    if any(Path("/").iterdir()):
        failed["empty_root"] = "files are visible"
    return failed


# --- in each child -----------------------------------------------------------------------------------------------
class Jail:
    """The child's layers, prepared once so that putting them on takes a few hundred microseconds."""

    def __init__(self) -> None:
        self.landlock_abi = lowlevel.landlock_abi()
        self._ruleset = lowlevel.landlock_ruleset(self.landlock_abi) if self.landlock_abi else b""
        self._filter = lowlevel.seccomp_filter() if lowlevel.SUPPORTED else b""

    def close(self, layers: frozenset[str], quota: Quota) -> None:
        """Puts on ``layers`` for good. ``OSError`` means the child must not run anything."""
        if "rlimits" in layers:
            limit_resources(quota)
        if "no_capabilities" in layers:
            lowlevel.drop_capabilities()
        if "no_new_privs" in layers:
            lowlevel.set_no_new_privs()
        if "landlock" in layers:
            self.landlock()
        with contextlib.suppress(OSError):  # without prctl there is no level to protect
            lowlevel.set_dumpable(False)
        if "rlimits" in layers:
            forbid_descriptors()  # after Landlock, which needs one for a moment
        if "seccomp" in layers:
            self.seccomp()

    def landlock(self) -> None:
        if not self._ruleset:
            raise OSError(errno.ENOSYS, "this kernel has no Landlock")
        lowlevel.install_landlock(self._ruleset)

    def seccomp(self) -> None:
        if not self._filter:
            raise OSError(errno.ENOSYS, "no system-call table for this platform")
        lowlevel.install_seccomp(self._filter)


def limit_resources(quota: Quota) -> None:
    for name in ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NPROC", "RLIMIT_MSGQUEUE", "RLIMIT_MEMLOCK"):
        if hasattr(resource, name):
            resource.setrlimit(getattr(resource, name), (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (quota.cpu_s, quota.cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (quota.address_space_bytes,) * 2)
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))


def forbid_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (2, 2))


# --- the canary --------------------------------------------------------------------------------------------------
def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, RuntimeError, ValueError, AttributeError):
        # threading says RuntimeError, setrlimit ValueError; what the platform does not know is an AttributeError
        return False
    return True


def _fork() -> None:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def _executable_page() -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def forbidden_actions(referee_pid: int) -> dict[str, Callable[[], object]]:
    """What no child may manage to do, by name. None of it does harm where it succeeds."""
    return {
        "open_file": lambda: os.close(os.open("/etc/passwd", os.O_RDONLY)),
        "open_root": lambda: os.close(os.open("/", os.O_RDONLY)),
        "stat": lambda: Path("/").stat(),
        "inet_socket": lambda: socket.socket(socket.AF_INET).close(),
        "unix_socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "duplicate_descriptor": lambda: os.close(os.dup(1)),
        "memory_file": lambda: os.close(os.memfd_create("canary")),
        "fork": _fork,
        "thread": _thread,
        "signal_referee": lambda: os.kill(referee_pid, 0),
        "signal_parent": lambda: os.kill(os.getppid() or referee_pid, 0),
        "signal_handler": lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
        "executable_page": _executable_page,
        "clock_of_another_process": lambda: time.clock_gettime((~1 << 3) | 2),
        "raise_limit": lambda: resource.setrlimit(resource.RLIMIT_CPU, (1, 1)),
    }


@dataclass(frozen=True)
class CanaryReport:
    """Child layers that were put on and seen to work, why others were not, and forbidden actions that succeeded."""

    layers: tuple[str, ...]
    failed: Failures
    allowed: tuple[str, ...]


def run_canary(jail: Jail, quota: Quota, referee_pid: int) -> CanaryReport:
    """Puts the layers on one by one, in this process, checking each by what it alone forbids at that moment."""
    steps: dict[str, tuple[Callable[[], None], Callable[[], bool]]] = {
        "rlimits": (lambda: limit_resources(quota), lambda: not _succeeds(_raise_cpu_limit)),
        "no_capabilities": (lowlevel.drop_capabilities, lambda: not _succeeds(lambda: os.setgroups([]))),
        "no_new_privs": (lowlevel.set_no_new_privs, lambda: True),  # the next two are refused without it
        "landlock": (jail.landlock, lambda: not _succeeds(lambda: os.close(os.open("/", os.O_RDONLY)))),
        "seccomp": (jail.seccomp, lambda: not _succeeds(lambda: Path("/").stat())),
    }
    layers, failed = [], {}
    for layer in CHILD_LAYERS:
        put_on, holds = steps[layer]
        try:
            if layer == "seccomp" and "rlimits" in layers:
                forbid_descriptors()
            put_on()
        except (OSError, ValueError) as error:
            failed[layer] = str(error)
            continue
        if holds():
            layers.append(layer)
        else:
            failed[layer] = "accepted, but without effect"
    allowed = tuple(name for name, attempt in forbidden_actions(referee_pid).items() if _succeeds(attempt))
    return CanaryReport(tuple(layers), failed, allowed)


def _raise_cpu_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (hard + 1, hard + 1))
