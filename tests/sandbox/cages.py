"""Surroundings in which the sandbox has fewer means: an ordinary user without namespaces, a Docker-like container.

:func:`enter` changes this process for good, so it is for subprocesses of tests.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from pathlib import Path

from sandbox import lowlevel

UID = 64123
_COLUMN = 1 if platform.machine() == "aarch64" else 0
# What Docker's default profile refuses to a container without CAP_SYS_ADMIN, as (x86_64, aarch64).
_DOCKER_DENIES = {
    "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280), "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262), "finit_module": (313, 273), "fsopen": (430, 430), "fsmount": (432, 432),
    "init_module": (175, 105), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "kcmp": (312, 272),
    "kexec_load": (246, 104), "keyctl": (250, 219), "mount": (165, 40), "mount_setattr": (442, 442),
    "move_mount": (429, 429), "move_pages": (279, 239), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "open_tree": (428, 428), "perf_event_open": (298, 241), "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41), "quotactl": (179, 60), "reboot": (169, 142), "request_key": (249, 218),
    "sethostname": (170, 161), "setns": (308, 268), "settimeofday": (164, 170), "swapon": (167, 224),
    "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97), "userfaultfd": (323, 282), "vhangup": (153, 58),
}  # fmt: skip
_CLONE = (56, 220)
_CLONE3 = 435
_NAMESPACE_FLAGS = 0x7E020000
_LANDLOCK_CREATE, _PRCTL = 444, (157, 167)
_PR_SET_SECCOMP = 22
# CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD
# AUDIT_WRITE SETFCAP
_DOCKER_CAPABILITIES = frozenset((0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))


def enter(cage: str) -> None:
    """``unprivileged``, ``docker``, ``no_landlock`` or ``no_seccomp``: the last two are old kernels."""
    if cage == "unprivileged":
        _become_ordinary_user()
        _install(_deny(_DOCKER_DENIES["unshare"]) + _deny_namespace_clone())
    elif cage == "docker":
        _keep_docker_capabilities()
        _install(b"".join(map(_deny, _DOCKER_DENIES.values())) + _deny_namespace_clone())
    elif cage == "no_landlock":
        _install(lowlevel.filter_rule(_LANDLOCK_CREATE, lowlevel.seccomp_errno(errno.ENOSYS)))
    elif cage == "no_seccomp":
        _install(_deny_prctl_seccomp())
    else:
        raise ValueError(f"no cage {cage!r}")


def _deny(numbers: tuple[int, int]) -> bytes:
    return lowlevel.filter_rule(numbers[_COLUMN], lowlevel.seccomp_errno(errno.EPERM))


def _deny_namespace_clone() -> bytes:
    """clone with namespace flags is EPERM; clone3, whose flags a filter cannot see, is ENOSYS."""
    step = lowlevel.instruction
    number = step(0x20, 0)  # load the system-call number again after looking at an argument
    return (
        lowlevel.filter_rule(_CLONE3, lowlevel.seccomp_errno(errno.ENOSYS))
        + step(0x15, _CLONE[_COLUMN], 0, 4)
        + step(0x20, 16)
        + step(0x45, _NAMESPACE_FLAGS, 0, 1)
        + step(0x06, lowlevel.seccomp_errno(errno.EPERM))
        + number
    )


def _deny_prctl_seccomp() -> bytes:
    step = lowlevel.instruction
    return (
        step(0x15, _PRCTL[_COLUMN], 0, 4)
        + step(0x20, 16)
        + step(0x15, _PR_SET_SECCOMP, 0, 1)
        + step(0x06, lowlevel.seccomp_errno(errno.EINVAL))
        + step(0x20, 0)
    )


def _install(rules: bytes) -> None:
    lowlevel.set_no_new_privs()
    lowlevel.install_seccomp(lowlevel.filter_prologue() + rules + lowlevel.instruction(0x06, lowlevel.SECCOMP_ALLOW))


def _become_ordinary_user() -> None:
    if os.getuid() != 0:
        return
    _open_the_way(Path(sys.executable), Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[2])
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    lowlevel.set_dumpable(True)


def _open_the_way(*needed: Path) -> None:
    """Makes paths readable to others that lie below a directory closed to them, in an own mount namespace."""
    closed: dict[Path, list[Path]] = {}
    for path in {p for n in needed for p in (n.absolute(), n.resolve())}:
        blocking = [p for p in reversed(path.parents) if not p.stat().st_mode & 0o001]
        if blocking:
            target = path if path.is_dir() else path.parent
            closed.setdefault(blocking[0], []).append(target)
    if not closed:
        return
    lowlevel.unshare(lowlevel.CLONE_NEWNS)
    lowlevel.mount("none", "/", None, lowlevel.MS_REC | lowlevel.MS_PRIVATE)
    bind = 4096
    for wall, targets in closed.items():
        kept = {target: os.open(target, os.O_PATH) for target in targets}
        lowlevel.mount("tmpfs", str(wall), "tmpfs", 0, "mode=755")
        for target, fd in sorted(kept.items()):
            if not target.exists():
                target.mkdir(parents=True)
                lowlevel.mount(f"/proc/self/fd/{fd}", str(target), None, bind | lowlevel.MS_REC)
            os.close(fd)


def _keep_docker_capabilities() -> None:
    libc = ctypes.CDLL(None)
    for capability in range(64):
        if capability not in _DOCKER_CAPABILITIES and libc.prctl(24, capability, 0, 0, 0) != 0:
            break
    if os.getuid() == 0:
        # the bounding set takes effect on exec, which the zygote's start is; drop them from this process too
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        mask = sum(1 << c for c in _DOCKER_CAPABILITIES)
        data = (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)
        if libc.capset(header, data) != 0:
            raise OSError("capset")
