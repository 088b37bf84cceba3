"""Hostile policy programs, one property each.

Every program sits in seat 0 of repeated rock-paper-scissors. One that attempts something forbidden plays 2 if it
succeeded and 0 if not, so a breach shows in the referee's own record. ``kinds`` are the faults that count as the
right answer; an empty set means that the program may also just play on without a breach.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

MARKER = "the-victims-secret-7f3a"
ENVIRONMENT_SECRET = "CSRO_TEST_API_KEY"


@dataclass(frozen=True)
class Hostile:
    group: str
    name: str
    source: str
    kinds: frozenset[str] = frozenset()
    plays: bool = False

    @property
    def id(self) -> str:
        return f"{self.group}-{self.name}"


CORPUS: list[Hostile] = []


def attempt(group: str, **bodies: str) -> None:
    """Programs whose ``attempt()`` returns something true when it got through."""
    for name, body in bodies.items():
        source = (
            "def attempt():\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n"
            "def policy(observation):\n"
            "    try:\n        return 2 if attempt() else 0\n"
            "    except Exception:\n        return 0\n"
        )
        CORPUS.append(Hostile(group, name, source))


def raw(group: str, **calls: tuple[int, str]) -> None:
    """Raw system calls by x86_64 number, through the C library the harness itself has loaded."""
    for name, (number, arguments) in calls.items():
        body = f"""
            from sandbox import lowlevel
            L, P = lowlevel.ctypes.c_long, lowlevel.ctypes.c_char_p
            return lowlevel._libc.syscall(L({number}), {arguments}) >= 0
        """
        attempt(group, **{name: body})


def faulty(group: str, kinds: str, **sources: str) -> None:
    """Whole programs that must end in one of ``kinds``; a bare body becomes ``policy``."""
    for name, source in sources.items():
        text = textwrap.dedent(source).strip() + "\n"
        if "def policy" not in text and "class Policy" not in text and not text.startswith("#module"):
            text = "def policy(observation):\n" + textwrap.indent(text, "    ")
        CORPUS.append(Hostile(group, name, text, frozenset(kinds.split())))


def legal(group: str, **bodies: str) -> None:
    """Odd but legal answers: the match must be played to its end."""
    for name, body in bodies.items():
        source = "def policy(observation):\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n"
        CORPUS.append(Hostile(group, name, source, plays=True))


import hostile_bombs  # noqa: E402, F401  they add theirs, with the functions above
import hostile_doors  # noqa: E402, F401
import hostile_files  # noqa: E402, F401
import hostile_harness  # noqa: E402, F401
import hostile_interpreter  # noqa: E402, F401
import hostile_kernel  # noqa: E402, F401
import hostile_objects  # noqa: E402, F401
import hostile_protocol  # noqa: E402, F401
import hostile_simulate  # noqa: E402, F401

CORPUS = [
    Hostile(
        h.group,
        h.name,
        "def _works(f):\n    try: f()\n    except Exception: return False\n    return True\n" + h.source,
        h.kinds,
        h.plays,
    )
    if "_works(" in h.source
    else h
    for h in CORPUS
]
