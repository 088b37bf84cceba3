"""The bytes between referee and child. Both sides import this; the referee trusts no length in it beyond a cap.

All numbers are little-endian. Referee to child:

* load     ``u32 length | msgpack map`` (:class:`LoadRequest`)
* step     of an action-history game: ``u32 sequence | N bytes own | N bytes opponent``, the actions of the
  round just played; own is :data:`FIRST` before the first round, :data:`SKIP` for a finished match
* step     of any other game: ``u32 sequence | u32 length | msgpack list of N``, each nil (not to act) or the
  three-part update of :class:`ObservationEncoder`

Child to referee, after load (sequence 0) and after each step, always for all N slots:
``u32 sequence | u8 flags | N actions [| distributions] [| u32 length | msgpack failures]``. An action is a byte, or
an i32 where the game has more than :data:`MAX_BYTE_ACTIONS`; two values mean "failed" and "see distributions". On
an alarm the child may also send a bare header with :data:`TICK`: alive, and at another match than last time.

Where programs may simulate each other a child may, before it answers, ask as often as it likes:
``u32 sequence | u8 CALL | u32 slot | u32 length | u32 length | program | opponent``, both UTF-8, and then waits for
``u32 sequence | i32 action``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgpack

HEADER = struct.Struct("<IB")
LENGTH = struct.Struct("<I")
SEQUENCE = struct.Struct("<I")

CALL_HEADER = struct.Struct("<IBIII")
CALL_ANSWER = struct.Struct("<Ii")

HAS_FAILURES, HAS_DISTRIBUTIONS, TICK, CALL = 1, 2, 4, 8
PLAIN_FLAG, TICK_FLAG, CALL_FLAG = bytes((0,)), bytes((TICK,)), bytes((CALL,))
FIRST, SKIP = 255, 254
MAX_BYTE_ACTIONS = 253
MAX_FAILURES_BYTES = 64 << 10
MAX_DETAIL_CHARS, MAX_TRACEBACK_CHARS, MAX_TRACEBACKS = 300, 4000, 3

HELLO = b"H"
BROKEN = b"X"
"""First byte of a child that could not put its layers on; a message of at most 500 bytes follows."""

ObservationForm = Literal["action_history", "mapping"]


@dataclass(frozen=True)
class ActionCode:
    """How actions travel: ``typecode`` of :mod:`array`, and the two values that are not actions."""

    typecode: Literal["B", "i"]
    width: int
    failed: int
    distribution: int


BYTE_ACTIONS = ActionCode("B", 1, 255, 254)
INT_ACTIONS = ActionCode("i", 4, -1, -2)


def action_code(num_actions: int) -> ActionCode:
    return BYTE_ACTIONS if num_actions <= MAX_BYTE_ACTIONS else INT_ACTIONS


@dataclass(frozen=True)
class LoadRequest:
    """All a child learns about its matches. One seed per slot; ``num_rounds`` is 0 in the mapping form;
    ``simulated_bytes``, the longest text that ``simulate`` takes, is 0 where there is no ``simulate``."""

    source: str
    form: ObservationForm
    player: int
    seeds: tuple[int, ...]
    num_actions: int
    num_rounds: int
    output_bytes: int
    simulated_bytes: int = 0

    def pack(self) -> bytes:
        fields = {**self.__dict__, "source": self.source.encode("utf-8", "surrogatepass")}
        body: bytes = msgpack.packb(fields)
        return LENGTH.pack(len(body)) + body

    @classmethod
    def unpack(cls, body: bytes) -> LoadRequest:
        fields = msgpack.unpackb(body)
        source = fields.pop("source").decode("utf-8", "surrogatepass")
        return cls(source=source, seeds=tuple(fields.pop("seeds")), **fields)


@dataclass(frozen=True)
class SlotFailure:
    """One slot's failure as the child tells it: ``kind`` is a value of :class:`sandbox.faults.FaultKind`."""

    slot: int
    kind: str
    detail: str
    traceback: str


def pack_failures(failures: list[SlotFailure]) -> bytes:
    """As many as fit under the cap; a slot without its own entry shares the first one's."""
    packed: list[bytes] = []
    room = MAX_FAILURES_BYTES - 16
    for number, failure in enumerate(failures):
        traceback = failure.traceback[-MAX_TRACEBACK_CHARS:] if number < MAX_TRACEBACKS else ""
        texts = [text.encode("utf-8", "replace").decode() for text in (failure.detail[:MAX_DETAIL_CHARS], traceback)]
        entry = msgpack.packb([failure.slot, failure.kind, *texts])
        room -= len(entry)
        if room < 0:
            break
        packed.append(entry)
    body: bytes = msgpack.Packer().pack_array_header(len(packed)) + b"".join(packed)
    return LENGTH.pack(len(body)) + body


_UNPRINTABLE = {*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)} - {ord("\n"), ord("\t")}
_AS_ESCAPES = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _UNPRINTABLE}


def printable(text: str) -> str:
    """``text`` without what a terminal would obey (control characters, changes of writing direction): as escapes."""
    return text.translate(_AS_ESCAPES)


def unpack_failures(body: bytes) -> list[SlotFailure]:
    """Raises ``ValueError`` on anything but a list of ``[slot, kind, detail, traceback]``."""
    try:
        entries = msgpack.unpackb(body, max_array_len=4096, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"failure list is not msgpack: {error}") from error
    if not isinstance(entries, list):
        raise ValueError("failure list is not a list")
    failures = []
    for entry in entries:
        if not (isinstance(entry, list) and [type(part) for part in entry] == [int, str, str, str]):
            raise ValueError("failure entry is not [slot, kind, detail, traceback]")
        slot, kind, detail, traceback = entry
        detail, traceback = printable(detail).replace("\n", " "), printable(traceback)
        failures.append(SlotFailure(slot, kind, detail[:MAX_DETAIL_CHARS], traceback[-MAX_TRACEBACK_CHARS:]))
    return failures


# --- observations as deltas --------------------------------------------------------------------------------------
def _split_array(packed: bytes) -> tuple[int, bytes] | None:
    """Length and body of a packed msgpack array, ``None`` for any other value."""
    first = packed[0]
    if first & 0xF0 == 0x90:
        return first & 0x0F, packed[1:]
    if first == 0xDC:
        return int.from_bytes(packed[1:3], "big"), packed[3:]
    if first == 0xDD:
        return int.from_bytes(packed[1:5], "big"), packed[5:]
    return None


class ObservationEncoder:
    """Encodes one player's successive observations as ``[set, append, removed]``, each against the one before.

    Compares packed bytes, so that lists the game goes on growing in place are safe; a list that only grew
    costs its new items. Not thread-safe.
    """

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self._packer = msgpack.Packer(unicode_errors="surrogatepass")  # program texts may hold lone surrogates

    def encode(self, observation: Mapping[str, object]) -> bytes:
        """Raises ``TypeError`` for a value that msgpack cannot carry: an error in the game."""
        header, pack, before = self._packer.pack_map_header, self._packer.pack, self._packed
        changed: list[bytes] = []
        grown: list[bytes] = []
        for key, value in observation.items():
            packed, old = pack(value), before.get(key)
            if packed == old:
                continue
            before[key] = packed
            if (suffix := self._suffix(old, packed)) is None:
                changed += (pack(key), packed)
            else:
                grown += (pack(key), suffix)
        removed = [key for key in before if key not in observation]
        for key in removed:
            del before[key]
        parts = (b"\x93", header(len(changed) // 2), *changed, header(len(grown) // 2), *grown, pack(removed))
        return b"".join(parts)

    def _suffix(self, old: bytes | None, new: bytes) -> bytes | None:
        """The packed array of items that ``new`` appends to ``old``, if that is all it does."""
        if old is None or (before := _split_array(old)) is None or (after := _split_array(new)) is None:
            return None
        if after[0] <= before[0] or not after[1].startswith(before[1]):
            return None
        suffix: bytes = self._packer.pack_array_header(after[0] - before[0]) + after[1][len(before[1]) :]
        return suffix


def pack_updates(updates: list[bytes | None]) -> bytes:
    """A step's payload from each slot's encoded update, ``None`` for a slot that is not to act."""
    packer = msgpack.Packer()
    return b"".join((packer.pack_array_header(len(updates)), *(b"\xc0" if u is None else u for u in updates)))


def unpack_updates(payload: bytes) -> list[Any]:
    """Child side only: the payload comes from the referee."""
    updates: list[Any] = msgpack.unpackb(payload, strict_map_key=False, unicode_errors="surrogatepass")
    return updates


def apply_update(observation: dict[str, Any], update: list[Any]) -> None:
    """Brings the child's copy of an observation up to date, in place."""
    changed, grown, removed = update
    observation.update(changed)
    for key, items in grown.items():
        observation[key].extend(items)
    for key in removed:
        observation.pop(key, None)


# --- blocking reads and writes of the child ----------------------------------------------------------------------
def read_exactly(fd: int, size: int) -> bytes:
    """Raises ``EOFError`` when the referee is gone."""
    data = os.read(fd, size)
    while len(data) < size:
        chunk = os.read(fd, size - len(data))
        if not chunk:
            raise EOFError("the referee closed the pipe")
        data += chunk
    return data


def write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])
