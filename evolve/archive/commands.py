"""What the Redis-backed parts of the store ask of a connection, so that only ``redis.py`` need know the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Argument = bytes | str | int | float


class Commands(Protocol):
    """A connection to the store's server. Answers are bytes, ints, lists of these, or None.

    A call whose answer was lost is sent again, so every command and script must bear being repeated.
    Each method raises :class:`evolve.archive.core.StoreUnavailableError` when the server cannot serve."""

    def call(self, *command: Argument) -> Any:
        """One command."""
        ...

    def transaction(self, *commands: Sequence[Argument]) -> list[Any]:
        """Several commands that see one state, and their answers in order."""
        ...

    def script(self, name: str, keys: Sequence[str] | Sequence[bytes], arguments: Sequence[Argument]) -> Any:
        """The Lua script of that name, beside this module."""
        ...


class Keys:
    """Key names of one run. The hash tag in braces keeps all of them on one slot of a cluster."""

    def __init__(self, run_id: str) -> None:
        if not run_id or set(run_id) & set("{}*?[]\\ \n"):
            raise ValueError(f"run id {run_id!r} must not be empty nor hold braces, blanks or wildcards")
        self.prefix = f"{{csro:{run_id}}}"

    def __call__(self, *parts: str | int) -> str:
        return ":".join([self.prefix, *map(str, parts)])
