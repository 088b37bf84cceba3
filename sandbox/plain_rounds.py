"""Rounds between two programs in compiled code (``plain_rounds.c``), for as long as both answer plainly.

Built when csro is installed, if there is a C compiler. Without it Python plays every round: the same matches, but a
pair of fast programs takes about a tenth longer.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sandbox import wire
from sandbox.remote_policy import RemotePolicy

_PATIENCE = 0.1
"""For one answer, of its deadline: then Python takes over and gives it all of that."""
ROUNDS_AT_ONCE = 1024
_INT, _PER_SEAT = ctypes.c_int32, ctypes.c_int32 * 2


class _Pair(ctypes.Structure):
    """``struct pair`` of the C side."""

    _fields_ = (
        ("to", _PER_SEAT),
        ("from_", _PER_SEAT),
        ("slots", _INT),
        ("num_actions", _INT),
        ("patience_ms", _INT),
        ("is_open", _INT),
        ("sent", _PER_SEAT),
        ("heard", _PER_SEAT),
        ("sequence", ctypes.c_uint32 * 2),
        ("until_ns", ctypes.c_int64),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loop; ``None`` where csro was installed without a C compiler, by another machine, or as an older
    version."""
    found = importlib.util.find_spec("sandbox._plain_rounds")
    if found is None or found.origin is None:
        return None
    try:
        compiled = ctypes.CDLL(found.origin)
        fits = compiled.size_of_pair() == ctypes.sizeof(_Pair)
    except (OSError, AttributeError):
        return None
    return compiled if fits else None


@dataclass(frozen=True)
class Played:
    """So many plain ``rounds``, and the actions of each seat in them, N bytes a round. ``is_open`` says that one more
    round is posted; its answers are to be taken from the programs."""

    rounds: int
    own: bytes
    other: bytes
    is_open: bool

    @property
    def last(self) -> tuple[bytes, bytes]:
        """The actions of the last of the rounds, of which there is one at least."""
        start = len(self.own) - len(self.own) // self.rounds
        return self.own[start:], self.other[start:]


class PlainRounds:
    """Two programs of one batch of an action-history game, each loaded in its seat of all N matches."""

    def __init__(self, compiled: ctypes.CDLL, programs: Sequence[RemotePolicy], num_actions: int) -> None:
        self._compiled = compiled
        self._programs = programs
        self._slots = slots = programs[0].count
        patience_ms = max(1, int(programs[0].move_timeout_s * _PATIENCE * 1000))
        self._pair = _Pair(slots=slots, num_actions=num_actions, patience_ms=patience_ms)
        for seat, program in enumerate(programs):
            self._pair.to[seat], self._pair.from_[seat] = program.write_fd, program.read_fd
        self._frame_size, self._reply_size = wire.SEQUENCE.size + 2 * slots, wire.HEADER.size + slots
        self._frames = bytearray(2 * self._frame_size)
        self._replies = bytearray(2 * self._reply_size)
        self._actions = bytearray(2 * ROUNDS_AT_ONCE * slots)
        self._buffers = [
            (ctypes.c_uint8 * len(each)).from_buffer(each) for each in (self._frames, self._replies, self._actions)
        ]

    def play(self, own: bytes, other: bytes, rounds: int) -> Played:
        """Goes on behind a round in which the seats played ``own`` and ``other``, for at most ``rounds``, and stops
        between two of them when a program's processor time is due to be looked at.

        Raises :class:`sandbox.remote_policy.ProgramDied`."""
        pair, rounds = self._pair, min(rounds, ROUNDS_AT_ONCE)
        for seat, program in enumerate(self._programs):
            pair.sequence[seat] = program.sequence
        pair.until_ns = int(min(program.cpu_check_at_s for program in self._programs) * 1e9)
        self._frames[wire.SEQUENCE.size : self._frame_size] = own + other
        self._frames[self._frame_size + wire.SEQUENCE.size :] = other + own
        plain = self._compiled.play_plain_rounds(ctypes.byref(pair), rounds, *self._buffers)
        is_open = bool(pair.is_open)
        for seat, program in enumerate(self._programs):
            program.go_on(pair.sequence[seat], *(self._left(seat) if is_open else ()))
        size, second = plain * self._slots, rounds * self._slots
        return Played(plain, bytes(self._actions[:size]), bytes(self._actions[second : second + size]), is_open)

    def _left(self, seat: int) -> tuple[bytes, bytes | None]:
        """Of a round under way: what is still to be sent to a program, and what was heard from it."""
        sent, heard = self._pair.sent[seat], self._pair.heard[seat]
        frame, reply = seat * self._frame_size, seat * self._reply_size
        unsent = bytes(self._frames[frame + sent : frame + self._frame_size])
        return unsent, None if heard < 0 else bytes(self._replies[reply : reply + heard])
