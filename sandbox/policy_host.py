"""Runs one program's N matches inside a jailed child. Shares its interpreter with hostile code.

Everything here may be read and patched by the program, so it holds no secret and the referee believes nothing
it says except "this is my own seat's move". Its care goes to honest programs: one failing match does not stop
the others, and every failure comes with the lines that caused it.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from itertools import count, repeat
from typing import Any

import numpy as np

from games.core import ActionHistory
from sandbox import wire
from sandbox.faults import FaultKind
from sandbox.guards import Alarm, OutputMeter, sleep
from sandbox.match_namespace import ProgramCopies
from sandbox.moves import MoveError, read_move
from sandbox.program_errors import (
    IllegalMoveError,
    describe,
    fault_kind,
    format_traceback,
    register_source,
)
from sandbox.simulate_call import simulate_call

_MAX_TIMEOUTS = 2
_BALLAST_BYTES = 1 << 20
_STREAMS = ("stdout", "stderr", "__stdout__", "__stderr__")


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
        self._distributions: dict[int, tuple[float, ...]] = {}
        self._ballast: bytes | None = bytes(_BALLAST_BYTES)  # let go when memory is out, to be able to say so

    def load(self) -> bytes:
        """Compiles the program and makes one instance a slot; the reply for sequence 0."""
        for name in _STREAMS:
            setattr(sys, name, self._meter)
        random.seed(self._request.seeds[0])
        np.random.seed(self._request.seeds[0])
        register_source(self._request.source)
        longest = self._request.simulated_bytes
        names = {"simulate": simulate_call(self._alarm, longest)} if longest else {}
        copies: ProgramCopies | None = None

        def compile_and_instantiate(results: list[int]) -> None:
            nonlocal copies
            copies = copies or ProgramCopies(self._request.source, self._count, names)
            self._acts += repeat(_unplayable, len(results) - len(self._acts))
            for seed in self._request.seeds[len(results) :]:
                self._acts.append(copies.player(self._request.player, seed))
                results.append(0)

        results = self._alarm.start(wire.SEQUENCE.pack(0))
        error = self._attempt(compile_and_instantiate, results)
        if copies is None:
            self._fail(results, error or RuntimeError("nothing was compiled"), compiling=True)
            results += [self._code.failed] * (self._count - len(results))
            error = None
        self._finish(results, error, compile_and_instantiate)
        self._acts += repeat(_unplayable, self._count - len(self._acts))
        return self._reply(wire.SEQUENCE.pack(0), results)

    def play_once(self, observation: Any) -> int:
        """One move of the first match, outside any step."""
        return self._read(self._acts[0](observation))

    def serve(self) -> None:
        """Answers steps until the referee closes the pipe (``EOFError``)."""
        if self._request.form == "action_history":
            self._serve_action_histories()
        else:
            self._serve_mappings()

    def _serve_action_histories(self) -> None:
        """Two bytes a slot each step. The loop over honest slots is written out flat: it is most of what isolation
        costs; :meth:`_finish` takes over at the first slot that is not plain."""
        histories = [ActionHistory(self._request.num_rounds) for _ in range(self._count)]
        observations = [h.observation for h in histories]
        rows = [(h.mine, h.theirs, h.observation) for h in histories]
        acts, alarm, num_actions = self._acts, self._alarm, self._request.num_actions
        read, write, kind_of, whole = os.read, os.write, type, int
        split, size = 4 + self._count, 4 + 2 * self._count
        own = opponent = b""

        def answer(results: list[int]) -> None:
            for slot in range(len(results), self._count):
                if own[slot] == wire.SKIP:
                    results.append(self._code.failed)
                    continue
                if own[slot] != wire.FIRST:
                    histories[slot].extend(own[slot], opponent[slot])
                results.append(self._read(self._acts[slot](observations[slot])))

        for rounds in count():
            frame = read(0, size)
            if len(frame) < size:
                frame += wire.read_exactly(0, size - len(frame))
            sequence, own, opponent = frame[:4], frame[4:split], frame[split:]
            results = alarm.start(sequence)
            error: BaseException | None = None
            if own.isascii():  # every slot is live, none failed before, and it is not the first round
                try:
                    alarm.armed = True
                    for (mine, theirs, observation), act, my_action, their_action in zip(
                        rows, acts, own, opponent, strict=True
                    ):
                        mine.append(my_action)
                        theirs.append(their_action)
                        observation["round"] = rounds
                        move = act(observation)
                        if kind_of(move) is not whole or not 0 <= move < num_actions:
                            move = self._read(move)
                        results.append(move)
                    alarm.armed = False
                except BaseException as caught:  # noqa: BLE001  whatever the program raises is its failure
                    alarm.armed = False
                    error = caught
                act = _unplayable  # the instance that failed may hold what filled the memory
            if error is None and len(results) == self._count and self._is_plain():
                write(1, sequence + wire.PLAIN_FLAG + bytes(results))
            else:
                self._finish(results, error, answer)
                wire.write_all(1, self._reply(sequence, results))

    def _serve_mappings(self) -> None:
        observations: list[dict[str, Any]] = [{} for _ in range(self._count)]
        updates: list[Any] = []

        def answer(results: list[int]) -> None:
            for slot in range(len(results), self._count):
                if updates[slot] is None:
                    results.append(self._code.failed)
                    continue
                wire.apply_update(observations[slot], updates[slot])
                results.append(self._read(self._acts[slot](observations[slot])))

        while True:
            header = wire.read_exactly(0, 8)
            updates = wire.unpack_updates(wire.read_exactly(0, int.from_bytes(header[4:], "little")))
            results = self._alarm.start(header[:4])
            self._finish(results, None, answer)
            wire.write_all(1, self._reply(header[:4], results))

    def _is_plain(self) -> bool:
        return not (self._distributions or self._meter.flooded or self._alarm.timed_out)

    def _finish(self, results: list[int], error: BaseException | None, answer: Callable[[list[int]], None]) -> None:
        """Books ``error`` and has ``answer`` go on behind the slot that raised it, until all have answered."""
        while True:
            if error is not None:
                self._fail(results, error)
            if len(results) >= self._count:
                return  # longer only if the program tampers with the list; the referee will not accept it
            error = self._attempt(answer, results)

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
        if type(move) is int and 0 <= move < self._request.num_actions:
            return move
        try:
            read = read_move(move, self._request.num_actions)
        except MoveError as error:
            problem = str(error)
        else:
            if isinstance(read, int):
                return read
            self._distributions[self._alarm.slot] = read
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
        BaseException.with_traceback(error, None)
        if kind is FaultKind.MEMORY:
            gc.collect()
        results.append(self._code.failed)
        if kind is FaultKind.TIMEOUT and len(self._alarm.timed_out) >= _MAX_TIMEOUTS:
            results += [self._code.failed] * (self._count - len(results))

    def _reply(self, sequence: bytes, results: list[int]) -> bytes:
        caught = ((self._meter.flooded, FaultKind.OUTPUT_FLOOD), (self._alarm.timed_out, FaultKind.TIMEOUT))
        for slots, kind in caught:
            self._disown(results, slots, kind)
        flags = 0
        tail = b""
        rows = [row for slot, row in self._distributions.items() if results[slot] == self._code.distribution]
        if rows:
            flags |= wire.HAS_DISTRIBUTIONS
            tail = array("d", [probability for row in rows for probability in row]).tobytes()
        if self._failures:
            flags |= wire.HAS_FAILURES
            tail += wire.pack_failures(self._failures)
        self._distributions, self._failures = {}, []
        body = bytes(results) if self._code.width == 1 else array(self._code.typecode, results).tobytes()
        return sequence + bytes((flags,)) + body + tail

    def _disown(self, results: list[int], slots: set[int], kind: FaultKind) -> None:
        """Fails slots whose program caught our time-out or flood exception and answered all the same."""
        for slot in slots:
            if results[slot] != self._code.failed:
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
    time.sleep = sleep
    os.environ.clear()
    sys.stdin = None  # type: ignore[assignment]
    gc.enable()
    _rehearse()
    return alarm


_REHEARSED = """
import random
class Policy:
    def __init__(self, player, seed):
        self.rng = random.Random(seed)
    def act(self, observation):
        return observation["round"] % 3 if observation["opponent_actions"] else self.rng.randrange(3)
"""
_REHEARSAL = wire.LoadRequest(_REHEARSED, "action_history", 0, (1,), num_actions=3, num_rounds=1, output_bytes=0)
_PACKED_REHEARSAL = _REHEARSAL.pack()[wire.LENGTH.size :]


def _rehearse() -> None:
    """Loads a program and has it move once, so that the pages that loading writes to are this process's own before the
    real program comes: the kernel's copying of shared pages is most of what loading costs."""
    streams = [(name, getattr(sys, name)) for name in _STREAMS]
    host = PolicyHost(wire.LoadRequest.unpack(_PACKED_REHEARSAL), Alarm())
    host.load()
    host.play_once(ActionHistory(1).observation)
    for name, stream in streams:
        setattr(sys, name, stream)
    del host, sys.modules["policy"]
    gc.collect()


def hide_modules(names: Sequence[str]) -> None:
    """Makes importing them a plain ImportError: a clearer message than EPERM, and no protection."""
    for name in names:
        sys.modules.pop(name, None)
