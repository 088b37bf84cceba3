"""Which isolation level a zygote has really reached, which layers are missing, and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

REQUIRED = {
    1: ("rlimits",),
    2: ("rlimits", "no_capabilities", "no_new_privs", "seccomp"),
    3: ("landlock",),
    4: ("user_namespace", "mount_namespace", "net_namespace", "ipc_namespace", "pid_namespace", "empty_root"),
}
"""Layers that each level needs beside those of the levels below it."""

_NAMESPACE_ADVICE = (
    "allow unprivileged user namespaces (sysctl user.max_user_namespaces > 0, "
    "kernel.apparmor_restrict_unprivileged_userns=0) or run outside the container's default seccomp profile"
)
ADVICE = {
    "rlimits": "run on Linux",
    "no_capabilities": "run on Linux with a standard capability set",
    "no_new_privs": "run on Linux >= 3.5",
    "seccomp": "run on Linux (x86_64 or aarch64) with CONFIG_SECCOMP_FILTER, under a profile that allows prctl",
    "landlock": "use Linux >= 5.13 with landlock in /sys/kernel/security/lsm, under a profile that allows landlock_*",
    "unprivileged_uid": "grant CAP_SETUID and CAP_SETGID, or start csro as an ordinary user",
    "empty_root": _NAMESPACE_ADVICE,
}


def advice(layer: str) -> str:
    """What an operator can do to get ``layer``."""
    return ADVICE.get(layer, _NAMESPACE_ADVICE)


@dataclass(frozen=True)
class IsolationReport:
    """What a canary found. ``missing`` maps a layer to why it is not there and what to do.

    ``allowed_probes`` names forbidden actions that the canary managed to do; any of them holds the level
    at 1. ``modules`` is what programs can import.
    """

    level: int
    layers: tuple[str, ...]
    landlock_abi: int
    kernel: str
    allowed_probes: tuple[str, ...]
    missing: Mapping[str, str]
    modules: tuple[str, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, object]:
        fields = asdict(self)
        del fields["modules"]
        return fields

    def shortfall(self, min_level: int) -> str:
        """One line on why ``min_level`` is not reached and what to do; empty when it is."""
        if self.level >= min_level:
            return ""
        wanted = REQUIRED.get(self.level + 1, ())
        reasons = [f"{layer}: {self.missing[layer]}" for layer in wanted if layer in self.missing]
        if not reasons and self.allowed_probes:
            reasons = [f"a canary could still do {', '.join(self.allowed_probes)}"]
        return (
            f"sandbox level {self.level} is below the minimum {min_level} "
            f"({'; '.join(reasons) or 'see csro doctor'}); sandbox.allow_weak=true runs anyway, unprotected"
        )


def build_report(
    layers: tuple[str, ...],
    failed: Mapping[str, str],
    allowed: tuple[str, ...],
    *,
    landlock_abi: int,
    kernel: str,
    modules: tuple[str, ...],
) -> IsolationReport:
    """The level is the highest whose layers, and those of all levels below, are there; 1 if a probe got through."""
    level = 0
    for candidate, required in sorted(REQUIRED.items()):
        if not set(required) <= set(layers):
            break
        level = candidate
    if allowed:
        level = min(level, 1)
    missing = {layer: f"{reason}; {advice(layer)}" for layer, reason in failed.items()}
    return IsolationReport(level, layers, landlock_abi, kernel, allowed, missing, modules)
