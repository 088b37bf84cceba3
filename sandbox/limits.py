"""What one untrusted program may use. Every field carries its unit; games and experiments override by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Limits:
    """Resource limits of one program in one sandbox process.

    ``move_timeout_s`` is the soft deadline of one move (the program gets a traceback of the line it was
    stuck in); ``kill_grace_s`` later the process is killed. ``cpu_s`` bounds processor time of one
    match. Programs that a program simulates (:mod:`sandbox.simulator`) are held to ``move_timeout_s`` and
    ``simulation_memory_bytes`` each and, all those of one seat in one match together, to ``simulation_cpu_s``;
    up to :data:`games.simulation.MAX_DEPTH` of them are alive at a time. ``min_level`` is the isolation level (0 to 4,
    see :mod:`sandbox.zygote`) under which nothing is run, unless ``allow_weak`` says otherwise.
    """

    load_timeout_s: float = 2.0
    move_timeout_s: float = 1.0
    kill_grace_s: float = 0.25
    cpu_s: float = 10.0
    memory_bytes: int = 256 << 20
    output_bytes: int = 8192
    source_bytes: int = 128 << 10
    simulation_cpu_s: float = 2.0
    simulation_memory_bytes: int = 16 << 20
    min_level: int = 3
    allow_weak: bool = False

    def override(self, values: Mapping[str, float]) -> Limits:
        """A copy with some fields replaced. Raises ``KeyError`` naming a field that does not exist."""
        known = {f.name for f in fields(self)}
        for name in values:
            if name not in known:
                raise KeyError(f"no sandbox limit named {name!r}; there are {', '.join(sorted(known))}")
        return replace(self, **values)  # type: ignore[arg-type]
