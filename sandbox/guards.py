"""What a child holds against the program it runs: the alarm that ends a stuck move and the meter of its output.

Both live in the program's own interpreter, so they serve honest programs with a good message; what they do not
stop, the referee's deadlines and the jail do. Here is also a ``time.sleep`` that needs no system call.
"""

from __future__ import annotations

import io
import time
from types import FrameType
from typing import SupportsIndex

from sandbox import wire
from sandbox.program_errors import MoveTimeoutError, OutputFloodError


class Alarm:
    """Turns the referee's SIGALRM into :class:`MoveTimeoutError` in the match that is stuck.

    The referee cannot know which of N matches is running. The first alarm marks the current one as a suspect,
    the second finds out whether it is still the same; a slot that starts with the step is suspect from the
    start. Each alarm that finds progress is answered by a tick.
    """

    def __init__(self) -> None:
        self.armed = False
        self.timed_out: set[int] = set()
        self._sequence = b""
        self._results: list[int] = []
        self._suspect = 0
        self._held = self._late = False

    @property
    def sequence(self) -> bytes:
        """Of the present step, as it travels."""
        return self._sequence

    def start(self, sequence: bytes) -> list[int]:
        """A new step: returns the list whose length says which slot is running."""
        self._sequence, self._suspect = sequence, 0
        self._results = results = list[int]()
        return results

    @property
    def slot(self) -> int:
        return len(self._results)

    def hold(self) -> None:
        """Until :meth:`release` an alarm waits, so that it cannot tear an exchange with the referee in two."""
        self._held = True

    def release(self) -> None:
        """Heeds the alarm that came meanwhile, if one did."""
        self._held = False
        if self._late:
            self._late = False
            self(0, None)

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if self._held:
            self._late = True
            return
        slot = self.slot
        if not self.armed or slot in self.timed_out:
            return  # the answer is on its way, or the program swallowed the first exception and will be killed
        expired = slot == self._suspect
        self._suspect = slot + expired
        wire.write_all(1, self._sequence + wire.TICK_FLAG)
        if expired:
            self.timed_out.add(slot)
            raise MoveTimeoutError("the program did not answer in time")


class OutputMeter(io.TextIOBase):
    """stdout and stderr of the program: counted per match, then thrown away."""

    def __init__(self, alarm: Alarm, allowance_bytes: int) -> None:
        self.flooded: set[int] = set()
        self._alarm = alarm
        self._allowance = allowance_bytes
        self._used: dict[int, int] = {}

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        slot = self._alarm.slot
        used = self._used.get(slot, 0) + len(text)
        self._used[slot] = used
        if used > self._allowance:
            self.flooded.add(slot)
            raise OutputFloodError(f"the program printed more than {self._allowance} bytes in one match")
        return len(text)


def sleep(seconds: float | SupportsIndex, /) -> None:
    """``time.sleep`` of the program: the jail has no call to wait with, so it looks at the clock until then, and a
    sleep that is too long ends in a time-out like any other wait."""
    length_s = float(seconds)
    if not length_s >= 0:
        raise ValueError("sleep length must be non-negative")
    end = time.monotonic() + length_s
    while time.monotonic() < end:
        pass
