"""How a program fails. A fault is data about the program, never an exception of ours."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """Outcomes other than ``ok``, spelled as ``csro check --json`` prints them."""

    SYNTAX_ERROR = "syntax_error"
    IMPORT_ERROR = "import_error"
    RUNTIME_ERROR = "runtime_error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    ILLEGAL_ACTION = "illegal_action"
    OUTPUT_FLOOD = "output_flood"
    KILLED = "killed"


class Stage(StrEnum):
    """Where in a program's life it failed."""

    LOAD = "load"
    SMOKE = "smoke"
    MATCH = "match"


@dataclass(frozen=True)
class Fault:
    """A program's failure, with what its author needs to mend it.

    ``player`` is the seat that failed, ``round`` the number of moves it had made. ``traceback`` is text
    chosen partly by the program: show it only as fenced data.
    """

    kind: FaultKind
    stage: Stage
    player: int
    detail: str
    traceback: str = ""
    round: int = 0


class SandboxError(RuntimeError):
    """The sandbox itself cannot work (level too low, zygote gone): an operator's problem, never a program's."""
