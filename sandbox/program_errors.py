"""Turns what a program raised into a kind, one line and a traceback of its own frames. Runs in the child.

The exception comes from hostile code: its ``__str__``, ``__cause__`` and class are not to be trusted, only to
be survived. Whatever goes wrong in here becomes a shorter message.
"""

from __future__ import annotations

import errno
import linecache
import traceback
from pathlib import Path
from types import TracebackType

from sandbox.faults import FaultKind

POLICY_FILE = "<policy>"
_HARNESS_DIRECTORY = str(Path(__file__).parent)
_MAX_FRAMES, _MAX_CHAIN = 8, 4


class MoveTimeoutError(BaseException):
    """Raised in the program by the alarm; not an ``Exception``, so that ``except Exception`` lets it through."""

    __module__ = "sandbox"


class OutputFloodError(BaseException):
    """Raised in the program by a print beyond its allowance."""

    __module__ = "sandbox"


class IllegalMoveError(Exception):
    """The program answered with something that is not a move."""

    __module__ = "sandbox"


_KINDS: tuple[tuple[type[BaseException], FaultKind], ...] = (
    (MoveTimeoutError, FaultKind.TIMEOUT),
    (OutputFloodError, FaultKind.OUTPUT_FLOOD),
    (IllegalMoveError, FaultKind.ILLEGAL_ACTION),
    (MemoryError, FaultKind.MEMORY),
    (ImportError, FaultKind.IMPORT_ERROR),
)


def fault_kind(error: BaseException) -> FaultKind:
    """By real type: an exception may lie about its ``__class__``."""
    for base, kind in _KINDS:
        if issubclass(type(error), base):
            return kind
    if type(error) is OSError and error.errno == errno.ENOMEM:
        return FaultKind.MEMORY
    return FaultKind.RUNTIME_ERROR


def register_source(source: str) -> None:
    """Lets tracebacks quote the program's lines."""
    linecache.cache[POLICY_FILE] = (len(source), None, source.splitlines(keepends=True), POLICY_FILE)


def describe(error: BaseException) -> str:
    """``TypeName: message``, whatever the exception tries."""
    name = "exception"
    try:
        name = type.__dict__["__name__"].__get__(type(error))
        if isinstance(error, SyntaxError) and type(error.lineno) is int and type(error.msg) is str:
            return f"{name}: line {error.lineno}: {error.msg}"
        if issubclass(type(error), MoveTimeoutError | OutputFloodError | IllegalMoveError):
            return str(error)
        text = str(error)
        return f"{name}: {text}" if text else name
    except BaseException:  # noqa: BLE001  __str__ is the program's
        return f"{name} (its message could not be read)"


def format_traceback(error: BaseException) -> str:
    """Traceback without frames of the harness, the last frames of at most four chained exceptions."""
    try:
        return "".join(_summary(error, 0).format())
    except BaseException:  # noqa: BLE001  parts of the exception are the program's
        return f"(no traceback: formatting it raised too)\n{describe(error)}"


def _summary(error: BaseException, depth: int) -> traceback.TracebackException:
    start = _first_policy_frame(error.__traceback__)
    # compact: contexts that would not be shown are not formatted either
    summary = traceback.TracebackException(type(error), error, start, limit=-_MAX_FRAMES, compact=True)
    link: traceback.TracebackException | None = summary
    for _ in range(_MAX_CHAIN):
        if link is None:
            break
        _clean_frames(link.stack)
        if link.__cause__ is None and link.__suppress_context__:
            link.__context__ = None
        link = link.__cause__ or link.__context__
    if link is not None:
        link.__cause__ = link.__context__ = None
    return summary


def _first_policy_frame(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename != POLICY_FILE:
        trace = trace.tb_next
    return trace


def _clean_frames(stack: traceback.StackSummary) -> None:
    """Drops harness and import-machinery frames; names libraries by file only, the same on every machine."""
    kept = [f for f in stack if not f.filename.startswith((_HARNESS_DIRECTORY, "<frozen"))]
    for frame in kept:
        if frame.filename != POLICY_FILE:
            frame.filename = Path(frame.filename).name
    stack[:] = kept
