"""Why a child's process ended by itself, as far as the kernel tells."""

from __future__ import annotations

import os
import signal

from sandbox import zygote
from sandbox.child import Usage
from sandbox.faults import FaultKind
from sandbox.limits import Limits


def cause_of_death(usage: Usage, limits: Limits, cpu_budget_s: float) -> tuple[FaultKind, str]:
    """The kind of fault, and the words for it. ``cpu_budget_s`` is what the process was granted in all."""
    if os.WIFEXITED(usage.status):
        code = os.WEXITSTATUS(usage.status)
        if code == zygote.EXIT_OUT_OF_MEMORY:
            return FaultKind.MEMORY, f"out of memory (memory_bytes={limits.memory_bytes})"
        return FaultKind.KILLED, f"the process ended itself with exit code {code}"
    number = os.WTERMSIG(usage.status)
    if number == signal.SIGXCPU or usage.cpu_s >= cpu_budget_s:
        return FaultKind.TIMEOUT, out_of_cpu(limits)
    if number == signal.SIGSYS:
        return FaultKind.KILLED, "killed for a forbidden system call"
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return FaultKind.KILLED, f"the process crashed or was killed ({name})"


def out_of_cpu(limits: Limits) -> str:
    return f"used more processor time than cpu_s={limits.cpu_s:g} a match"
