"""A jailed process as the referee knows it: its number, its two pipes, what it was granted and what it used."""

from __future__ import annotations

import math
import os
import select
from dataclasses import dataclass

from sandbox.faults import SandboxError


class ForkRefused(SandboxError):  # noqa: N818  a state, told to the operator as a SandboxError
    """The kernel gives no further process or descriptor. What is there already goes on working."""


@dataclass(frozen=True)
class Usage:
    """How a child ended: wait status (-1 if unknown), processor seconds and peak resident bytes."""

    status: int
    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True)
class ChildQuota:
    """What a child is born with: bytes beyond the zygote's own, and whole seconds of processor time."""

    memory_bytes: int
    cpu_s: int

    def serves(self, wanted: ChildQuota) -> bool:
        return self.memory_bytes == wanted.memory_bytes and self.cpu_s >= wanted.cpu_s


class Child:
    """A jailed process and the two pipes to it. Closed by :meth:`ZygoteClient.kill` or ``discard`` alone."""

    __slots__ = ("pid", "quota", "read_fd", "write_fd")

    def __init__(self, quota: ChildQuota, read_fd: int, write_fd: int) -> None:
        self.quota = quota
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.pid = 0

    @property
    def exists(self) -> bool:
        """Once it has been asked for and answered: whether the kernel gave it."""
        return self.pid > 0

    def close_pipes(self) -> None:
        os.close(self.read_fd)
        os.close(self.write_fd)


def make_pipe() -> tuple[int, int]:
    """Read and write end, not inherited. Raises :class:`ForkRefused` without descriptors."""
    try:
        return os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
    except OSError as error:
        reason = f"no pipe to a sandbox process could be made: {error.strerror}"
        raise ForkRefused(f"{reason}; raise the limit on open files (ulimit -n)") from error


def wait_readable(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))


def whole_cpu_s(seconds: float) -> int:
    return max(1, math.ceil(seconds))
