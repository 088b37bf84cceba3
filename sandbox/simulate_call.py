"""``simulate`` as a sandboxed program sees it: a question to the referee, who runs the other program elsewhere.

Shares its interpreter with hostile code, like :mod:`sandbox.policy_host`; the referee checks all that is asked.
"""

from __future__ import annotations

from collections.abc import Callable

import games.modal_programs  # noqa: F401  loaded while there are files: programs may import it
from sandbox import wire
from sandbox.guards import Alarm


def simulate_call(alarm: Alarm, longest_bytes: int) -> Callable[[str, str], int]:
    """The function ``simulate`` for all matches of one child. It raises in the program: ``TypeError`` for what is
    not text, ``ValueError`` for text that is too long or cannot be encoded."""

    def simulate(source: str, opponent_source: str) -> int:
        texts = _encoded(source, "source", longest_bytes), _encoded(opponent_source, "opponent_source", longest_bytes)
        sequence = int.from_bytes(alarm.sequence, "little")
        header = wire.CALL_HEADER.pack(sequence, wire.CALL, alarm.slot, *map(len, texts))
        alarm.hold()
        try:
            wire.write_all(1, b"".join((header, *texts)))
            answer = wire.read_exactly(0, wire.CALL_ANSWER.size)
        finally:
            alarm.release()
        action: int = wire.CALL_ANSWER.unpack(answer)[1]
        return action

    return simulate


def _encoded(text: str, name: str, longest_bytes: int) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"simulate takes program texts: {name} must be a str, not {type(text).__name__}")
    encoded = str.encode(text, "utf-8")
    if len(encoded) > longest_bytes:
        raise ValueError(f"simulate: {name} is {len(encoded)} bytes long; at most {longest_bytes} are allowed")
    return encoded
