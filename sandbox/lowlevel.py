"""Linux isolation primitives through ctypes: no_new_privs, seccomp, Landlock, namespaces, capabilities.

Nothing here decides policy except the two system-call lists; :mod:`sandbox.jail` decides the order. Each
function raises ``OSError`` with the call's name. Tables cover x86_64 and aarch64; elsewhere
:func:`seccomp_filter` raises ``OSError(ENOSYS)``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

# name: (x86_64, aarch64)
_SYSCALLS: dict[str, tuple[int, int]] = {
    "read": (0, 63),
    "write": (1, 64),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "exit_group": (231, 94),
    "rt_sigreturn": (15, 139),
    "clock_gettime": (228, 113),
    "getrandom": (318, 278),
    "pivot_root": (155, 41),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "execve": (59, 221),
    "execveat": (322, 281),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "pidfd_getfd": (438, 438),
    "seccomp": (317, 277),
    "open_by_handle_at": (304, 265),
    "kcmp": (312, 272),
}
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_MACHINE = os.uname().machine  # no more of it is kept: programs could read the machine's name here, or in platform
_COLUMN, _AUDIT_ARCH = _ARCHITECTURES.get(_MACHINE, (0, 0))
SUPPORTED = sys.platform == "linux" and _AUDIT_ARCH != 0

# Beside read(0), write(1), mmap/mprotect without PROT_EXEC and the common clocks: all that CPython and numpy need.
ALLOWED = ("munmap", "mremap", "madvise", "brk", "exit_group", "rt_sigreturn", "getrandom")
# No honest program comes near these: kill rather than answer EPERM.
FATAL = tuple(_SYSCALLS)[tuple(_SYSCALLS).index("pivot_root") :]

_libc = ctypes.CDLL(None, use_errno=True)
_Long = ctypes.c_long
_NR_CLOSE_RANGE, _NR_LANDLOCK_CREATE, _NR_LANDLOCK_RESTRICT = 436, 444, 446

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 38, 47

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 0x4000, 0x40000
MNT_DETACH = 2


def syscall_number(name: str) -> int:
    return _SYSCALLS[name][_COLUMN]


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _prctl(what: str, option: int, *values: int) -> int:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, f"{what}: needs Linux")
    padded = (*values, 0, 0, 0, 0)[:4]
    return _check(_libc.prctl(option, *map(_Long, padded)), what)


def set_parent_death_signal(signal_number: int) -> None:
    _prctl("prctl(PDEATHSIG)", _PR_SET_PDEATHSIG, signal_number)


def set_dumpable(dumpable: bool) -> None:
    _prctl("prctl(DUMPABLE)", _PR_SET_DUMPABLE, int(dumpable))


def set_no_new_privs() -> None:
    _prctl("prctl(NO_NEW_PRIVS)", _PR_SET_NO_NEW_PRIVS, 1)


def close_fds_from(lowest: int) -> None:
    """Closes every descriptor >= ``lowest`` with one system call."""
    if sys.platform != "linux":
        os.closerange(lowest, 4096)
        return
    _check(_libc.syscall(_Long(_NR_CLOSE_RANGE), _Long(lowest), _Long(0xFFFFFFFF), _Long(0)), "close_range")


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop_capabilities() -> None:
    """Empties the bounding, ambient, inheritable, permitted and effective sets."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "capabilities: needs Linux")
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, _Long(capability), _Long(0), _Long(0), _Long(0)) != 0:
            break  # past the last capability, or without CAP_SETPCAP (then there is nothing to drop)
    _prctl("prctl(CAP_AMBIENT)", _PR_CAP_AMBIENT, 4)
    header = _CapHeader(0x20080522, 0)
    empty = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(empty)), "capset")


# --- seccomp -----------------------------------------------------------------------------------------------------
SECCOMP_ALLOW, SECCOMP_KILL = 0x7FFF0000, 0x80000000
_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_X32_BIT, _PROT_EXEC = 0x40000000, 4
_FIXED_CLOCKS = 16  # numbers from here on, negative ones too, are clocks of other processes and of devices


def seccomp_errno(code: int) -> int:
    """The filter's return value that makes a call fail with ``errno == code``."""
    return 0x00050000 | code


def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One classic-BPF instruction; jumps are relative to the next one."""
    return struct.pack("HBBI", code, if_true, if_false, value)


def _argument(index: int) -> bytes:
    return instruction(_LOAD, 16 + 8 * index)  # low word; both architectures are little-endian


def filter_prologue() -> bytes:
    """Kills foreign architectures and the x32 ABI, then loads the system-call number."""
    program = instruction(_LOAD, 4) + instruction(_JUMP_EQ, _AUDIT_ARCH, 1, 0) + instruction(_RETURN, SECCOMP_KILL)
    program += instruction(_LOAD, 0)
    if _COLUMN == 0:
        program += instruction(_JUMP_GE, _X32_BIT, 0, 1) + instruction(_RETURN, SECCOMP_KILL)
    return program


def filter_rule(number: int, verdict: int) -> bytes:
    return instruction(_JUMP_EQ, number, 0, 1) + instruction(_RETURN, verdict)


def _only_fd(name: str, fd: int) -> bytes:
    return (
        instruction(_JUMP_EQ, syscall_number(name), 0, 4)
        + _argument(0)
        + instruction(_JUMP_EQ, fd, 0, 1)
        + instruction(_RETURN, SECCOMP_ALLOW)
        + instruction(_RETURN, seccomp_errno(errno.EBADF))
    )


def _never_executable(name: str) -> bytes:
    return (
        instruction(_JUMP_EQ, syscall_number(name), 0, 4)
        + _argument(2)
        + instruction(_JUMP_SET, _PROT_EXEC, 0, 1)
        + instruction(_RETURN, seccomp_errno(errno.EACCES))
        + instruction(_RETURN, SECCOMP_ALLOW)
    )


def _common_clocks() -> bytes:
    """A processor clock of another process would tell how long the opponent has been thinking."""
    return (
        instruction(_JUMP_EQ, syscall_number("clock_gettime"), 0, 4)
        + _argument(0)
        + instruction(_JUMP_GE, _FIXED_CLOCKS, 1, 0)
        + instruction(_RETURN, SECCOMP_ALLOW)
        + instruction(_RETURN, seccomp_errno(errno.EINVAL))
    )


def seccomp_filter() -> bytes:
    """The allow-list of 12 calls as BPF, the hottest first: EPERM for the rest, death for the :data:`FATAL`."""
    if not SUPPORTED:
        raise OSError(errno.ENOSYS, f"seccomp filter: no table for {sys.platform} {_MACHINE}")
    program = filter_prologue() + _only_fd("read", 0) + _only_fd("write", 1)
    program += _never_executable("mmap") + _never_executable("mprotect") + _common_clocks()
    program += b"".join(filter_rule(syscall_number(name), SECCOMP_ALLOW) for name in ALLOWED)
    program += b"".join(filter_rule(syscall_number(name), SECCOMP_KILL) for name in FATAL)
    return program + instruction(_RETURN, seccomp_errno(errno.EPERM))


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install_seccomp(program: bytes) -> None:
    """Installs a BPF filter on this thread for good. Needs no_new_privs (or CAP_SYS_ADMIN)."""
    header = _FilterProgram(len(program) // 8, program)
    result = _libc.prctl(_PR_SET_SECCOMP, _Long(2), ctypes.byref(header), _Long(0), _Long(0))
    _check(result, "prctl(SECCOMP)")


# --- Landlock ----------------------------------------------------------------------------------------------------
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many access rights each ABI knows; 16 from ABI 5 on


def landlock_abi() -> int:
    """Version of Landlock in this kernel, 0 without it (Linux < 5.13, or switched off)."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc.syscall(_Long(_NR_LANDLOCK_CREATE), None, _Long(0), _Long(1))))


def landlock_ruleset(abi: int) -> bytes:
    """A ruleset that handles every right of ``abi`` and grants none: files, TCP, abstract sockets, signals."""
    fields = [(1 << _FS_RIGHTS.get(abi, 16)) - 1]
    if abi >= 4:
        fields.append(3)  # bind and connect
    if abi >= 6:
        fields.append(3)  # abstract unix sockets and signals outside the domain
    return struct.pack(f"{len(fields)}Q", *fields)


def install_landlock(ruleset: bytes) -> None:
    """Restricts this thread to ``ruleset`` for good. Needs no_new_privs."""
    fd = _check(
        _libc.syscall(_Long(_NR_LANDLOCK_CREATE), ctypes.c_char_p(ruleset), _Long(len(ruleset)), _Long(0)),
        "landlock_create_ruleset",
    )
    try:
        _check(_libc.syscall(_Long(_NR_LANDLOCK_RESTRICT), _Long(fd), _Long(0)), "landlock_restrict_self")
    finally:
        os.close(fd)


# --- namespaces --------------------------------------------------------------------------------------------------
def unshare(flags: int) -> None:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "unshare: needs Linux")
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    def text(value: str | None) -> bytes | None:
        return None if value is None else value.encode()

    result = _libc.mount(text(source), text(target), text(kind), ctypes.c_ulong(flags), text(options))
    _check(result, f"mount on {target}")


def detach_mount(target: str) -> None:
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"umount of {target}")


def pivot_root(new_root: str, old_root: str) -> None:
    number = _Long(syscall_number("pivot_root"))
    _check(_libc.syscall(number, ctypes.c_char_p(new_root.encode()), ctypes.c_char_p(old_root.encode())), "pivot_root")
