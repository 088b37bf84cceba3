"""Runs one program's N matches inside a jailed child. Shares its interpreter with hostile code.

Everything here may be read and patched by the program, so it holds no secret and the referee believes nothing
it says except "this is my own seat's move". Its care goes to honest programs: one failing match does not stop
the others, and every failure comes with the lines that caused it.
"""

from __future__ import annotations

import gc
import io
import os
import random
import signal
import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import repeat
from types import FrameType
from typing import Any

import numpy as np

from games.core import ActionHistory
from sandbox import wire
from sandbox.faults import FaultKind
from sandbox.match_namespace import compile_policy, instantiate
from sandbox.moves import MoveError, read_move
from sandbox.program_errors import (
    IllegalMoveError,
    MoveTimeoutError,
    OutputFloodError,
    describe,
    fault_kind,
    format_traceback,
    register_source,
)

_MAX_TIMEOUTS = 2
_BALLAST_BYTES = 1 << 20


class Alarm:
    """Turns the referee's SIGALRM into :class:`MoveTimeoutError` in the match that is stuck.

    The referee cannot know which of N matches is running. The first alarm marks the current one as a suspect,
    the second finds out whether it is still the same; a slot that starts with the step is suspect from the
    start. Each alarm that finds progress is answered by a tick.
    """

    def __init__(self) -> None:
        self.armed = False
        self.timed_out: set[int] = set()
        self._sequence = 0
        self._results: list[int] = []
        self._suspect = 0

    def start(self, sequence: int) -> list[int]:
        """A new step: returns the list whose length says which slot is running."""
        self._sequence, self._suspect, self._results = sequence, 0, []
        return self._results

    @property
    def slot(self) -> int:
        return len(self._results)

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        slot = self.slot
        if not self.armed or slot in self.timed_out:
            return  # the answer is on its way, or the program swallowed the first exception and will be killed
        expired = slot == self._suspect
        self._suspect = slot + expired
        wire.write_all(1, wire.HEADER.pack(self._sequence, wire.TICK))
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


class PolicyHost:
    """N instances of one program and the loop that steps them together."""

    def __init__(self, request: wire.LoadRequest, alarm: Alarm) -> None:
        self._request = request
        self._count = len(request.seeds)
        self._code = wire.action_code(request.num_actions)
        self._alarm = alarm
        self._meter = OutputMeter(alarm, request.output_bytes)
        self._acts: list[Callable[[Any], Any]] = []
        self._failures: list[wire.SlotFailure] = []
        self._distributions: list[tuple[float, ...]] = []
        self._ballast: bytes | None = bytes(_BALLAST_BYTES)  # let go when memory is out, to be able to say so

    def load(self) -> bytes:
        """Compiles the program and makes one instance a slot; the reply for sequence 0."""
        for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
            setattr(sys, name, self._meter)
        random.seed(self._request.seeds[0])
        np.random.seed(self._request.seeds[0])
        register_source(self._request.source)
        code = b""

        def compile_once(results: list[int]) -> None:
            nonlocal code
            code = compile_policy(self._request.source)
            make_instances(results)

        def make_instances(results: list[int]) -> None:
            for seed in self._request.seeds[len(results) :]:
                self._acts.append(instantiate(code, self._request.player, seed))
                results.append(0)

        results = self._alarm.start(0)
        if error := self._attempt(compile_once, results):
            self._fail(results, error, compiling=not code)
            if not code:
                results += [self._code.failed] * (self._count - len(results))
        while len(results) < self._count:
            self._acts += repeat(_unplayable, len(results) - len(self._acts))
            if error := self._attempt(make_instances, results):
                self._fail(results, error)
        self._acts += repeat(_unplayable, self._count - len(self._acts))
        return self._reply(0, results)

    def serve(self) -> None:
        """Answers steps until the referee closes the pipe (``EOFError``)."""
        if self._request.form == "action_history":
            self._serve_action_histories()
        else:
            self._serve_mappings()

    def _serve_action_histories(self) -> None:
        histories = [ActionHistory(self._request.num_rounds) for _ in range(self._count)]
        columns = ([h.extend for h in histories], self._acts, [h.observation for h in histories])
        count, num_actions, failed = self._count, self._request.num_actions, self._code.failed
        size = 4 + 2 * count
        own: bytes = b""
        opponent: bytes = b""

        def answer(results: list[int]) -> None:
            done, append = len(results), results.append
            rows = zip(*columns, own, opponent, strict=True)
            if done:
                rows = zip(*(c[done:] for c in columns), own[done:], opponent[done:], strict=True)
            for extend, act, observation, mine, theirs in rows:
                if mine < wire.SKIP:
                    extend(mine, theirs)
                elif mine == wire.SKIP:
                    append(failed)
                    continue
                move = act(observation)
                if type(move) is not int or not 0 <= move < num_actions:
                    move = self._read(move)
                append(move)

        while True:
            frame = os.read(0, size)
            if len(frame) < size:
                frame += wire.read_exactly(0, size - len(frame))
            own, opponent = frame[4 : 4 + count], frame[4 + count :]
            self._step(int.from_bytes(frame[:4], "little"), answer)

    def _serve_mappings(self) -> None:
        observations: list[dict[str, Any]] = [{} for _ in range(self._count)]
        updates: list[Any] = []

        def answer(results: list[int]) -> None:
            for slot in range(len(results), self._count):
                if updates[slot] is None:
                    results.append(self._code.failed)
                    continue
                wire.apply_update(observations[slot], updates[slot])
                move = self._acts[slot](observations[slot])
                if type(move) is not int or not 0 <= move < self._request.num_actions:
                    move = self._read(move)
                results.append(move)

        while True:
            header = wire.read_exactly(0, 8)
            updates = wire.unpack_updates(wire.read_exactly(0, int.from_bytes(header[4:], "little")))
            self._step(int.from_bytes(header[:4], "little"), answer)

    def _step(self, sequence: int, answer: Callable[[list[int]], None]) -> None:
        results = self._alarm.start(sequence)
        while len(results) < self._count:
            if error := self._attempt(answer, results):
                self._fail(results, error)
        wire.write_all(1, self._reply(sequence, results))

    def _attempt(self, work: Callable[[list[int]], None], results: list[int]) -> BaseException | None:
        """Runs ``work`` until it is done or a slot raises. Answers are made outside, so that errors do not chain."""
        try:
            self._alarm.armed = True
            work(results)
        except BaseException as error:  # noqa: BLE001  whatever the program raises is its failure, SystemExit too
            self._alarm.armed = False
            return error
        self._alarm.armed = False
        return None

    def _read(self, move: Any) -> int:
        try:
            read = read_move(move, self._request.num_actions)
        except MoveError as error:
            problem = str(error)
        else:
            if isinstance(read, int):
                return read
            self._distributions.append(read)
            return self._code.distribution
        raise IllegalMoveError(problem)

    def _fail(self, results: list[int], error: BaseException, *, compiling: bool = False) -> None:
        """Books ``error`` for the slot that was running, and moves on."""
        kind = fault_kind(error)
        if compiling and kind is FaultKind.RUNTIME_ERROR:
            kind = FaultKind.SYNTAX_ERROR
        if kind is FaultKind.MEMORY:
            self._ballast = None
        slot = len(results)
        self._failures.append(wire.SlotFailure(slot, kind.value, describe(error), format_traceback(error)))
        if slot < len(self._acts):
            self._acts[slot] = _unplayable  # the instance may hold what filled the memory, and so may the frames
        error.__traceback__ = None
        if kind is FaultKind.MEMORY:
            gc.collect()
        results.append(self._code.failed)
        if kind is FaultKind.TIMEOUT and len(self._alarm.timed_out) >= _MAX_TIMEOUTS:
            results += [self._code.failed] * (self._count - len(results))

    def _reply(self, sequence: int, results: list[int]) -> bytes:
        if self._meter.flooded or self._alarm.timed_out:
            self._disown_swallowed(results)
        flags = 0
        tail = b""
        if self._distributions:
            flags |= wire.HAS_DISTRIBUTIONS
            tail = array("d", [p for row in self._distributions for p in row]).tobytes()
            self._distributions = []
        if self._failures:
            flags |= wire.HAS_FAILURES
            tail += wire.pack_failures(self._failures)
            self._failures = []
        body = bytes(results) if self._code.width == 1 else array(self._code.typecode, results).tobytes()
        return wire.HEADER.pack(sequence, flags) + body + tail

    def _disown_swallowed(self, results: list[int]) -> None:
        """Fails slots whose program caught our time-out or flood exception and answered all the same."""
        caught = ((self._meter.flooded, FaultKind.OUTPUT_FLOOD), (self._alarm.timed_out, FaultKind.TIMEOUT))
        for slots, kind in caught:
            for slot in slots & {s for s, result in enumerate(results) if result != self._code.failed}:
                if results[slot] == self._code.distribution:
                    before = sum(result == self._code.distribution for result in results[:slot])
                    del self._distributions[before]
                results[slot] = self._code.failed
                self._failures.append(wire.SlotFailure(slot, kind.value, f"{kind.value}, caught by the program", ""))


def _unplayable(_observation: Any) -> int:
    raise RuntimeError("this instance failed when it was made")


def run(alarm: Alarm) -> None:
    """The life of a child after its jail is closed: load, then answer until the referee hangs up or kills."""
    size = wire.LENGTH.unpack(wire.read_exactly(0, 4))[0]
    host = PolicyHost(wire.LoadRequest.unpack(wire.read_exactly(0, size)), alarm)
    wire.write_all(1, host.load())
    host.serve()


def prepare() -> Alarm:
    """Before the jail closes: signal handling, and modules a program has no use for taken out of sight."""
    alarm = Alarm()
    signal.signal(signal.SIGALRM, alarm)
    hide_modules(("ctypes", "_ctypes", "socket", "_socket", "resource", "subprocess", "_posixsubprocess", "select"))
    os.environ.clear()
    sys.stdin = None  # type: ignore[assignment]
    gc.enable()
    return alarm


def hide_modules(names: Sequence[str]) -> None:
    """Makes importing them a plain ImportError: a clearer message than EPERM, and no protection."""
    for name in names:
        sys.modules.pop(name, None)
