"""Keys and addresses of providers: where they come from, and how they are kept from all but those who need them.

They are in the environment of whoever starts a run, or on a cluster in a private file on its machines. The driver hands
them to evolver actors as arguments of a call, which go straight from process to process: not through the environment
that Ray's other processes inherit, not through the job's description, and not through the cluster's own store, where
the arguments of an actor's constructor would end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from workers.errors import RunFailedError

NAMES = (
    "CSRO_REDIS_URL",  # may hold a password; evolvers are handed the store itself
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
)


class Secrets:
    """Provider keys on their way to an evolver. Never printed."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self._values)})"

    def install(self) -> None:
        """Into this process's environment, where the providers' clients look for them."""
        os.environ.update(self._values)


@contextmanager
def withheld() -> Iterator[Secrets]:
    """Takes the secrets out of this process's environment while its children are started."""
    held = {name: os.environ.pop(name) for name in NAMES if name in os.environ}
    try:
        yield Secrets(held)
    finally:
        os.environ.update(held)


def forget() -> None:
    """For processes that need none: drops what the machine's environment handed down."""
    for name in NAMES:
        os.environ.pop(name, None)


def secrets_path() -> Path:
    """``$CSRO_SECRETS``, else ``~/.config/csro/secrets.env``."""
    return Path(os.environ.get("CSRO_SECRETS") or Path.home() / ".config" / "csro" / "secrets.env")


def load_file() -> tuple[str, ...]:
    """Adds the secrets file's lines ``NAME=VALUE``, if there is one, to what the environment already has.

    Returns the names it held. Raises :class:`RunFailedError` with one line if others may read the file, or a line says
    something else."""
    path = secrets_path()
    if not path.is_file():
        return ()
    if path.stat().st_mode & 0o027:  # a group may read it: so a Kubernetes secret reaches a user other than root
        raise RunFailedError(f"{path} holds keys and others may read it: chmod 600 {path}")
    names = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip().removeprefix("export ")
        if not text or text.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or name not in NAMES:
            raise RunFailedError(f"{path}, line {number}: must be NAME=VALUE with a name of {', '.join(NAMES)}")
        os.environ.setdefault(name, value.strip("'\""))
        names.append(name)
    return tuple(names)
