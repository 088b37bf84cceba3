"""Which errors a user caused, which the world did, and how each is told: in one line."""

from __future__ import annotations

import errno


class UsageError(ValueError):
    """The command cannot be carried out as it was given: one line that says what to do instead."""


class RunFailedError(RuntimeError):
    """The command was fine and failed all the same: one line that says why and what to do."""


def usage_errors() -> tuple[type[Exception], ...]:
    from evolve.llm.providers import MissingKeyError, UnknownModelError
    from evolve.llm.replay import RecordingError
    from games.registry import GameError

    return (UsageError, GameError, MissingKeyError, RecordingError, UnknownModelError)


def run_errors() -> tuple[type[Exception], ...]:
    from evolve.archive.core import CorruptRecordError, SchemaVersionError, StoreUnavailableError
    from evolve.llm.core import LLMError
    from evolve.oracles.core import FoundersFailedError
    from evolve.reinforcement.core import TrainingFailedError
    from sandbox.faults import SandboxError

    return (
        CorruptRecordError,
        FoundersFailedError,
        LLMError,
        RunFailedError,
        SandboxError,
        SchemaVersionError,
        StoreUnavailableError,
        TrainingFailedError,
    )


def told(error: BaseException) -> tuple[str, int] | None:
    """The line and the exit status for an error that csro expects; ``None`` for a defect of its own."""
    if isinstance(error, usage_errors()):
        return _one_line(error), 2
    if isinstance(error, run_errors()):
        return _one_line(error), 1
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full{_where(error)}: free space, then go on with --resume", 1
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror or error}{_where(error)}", 1
    return None


def _where(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
