"""The referee's handle on one child: N matches of one program, with deadlines, and nothing taken on trust.

Every read has a deadline and a length that the referee itself worked out; a reply is accepted only if it
answers the sequence number just sent and holds legal moves. What else a child may say is capped text about
its own failures.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from sandbox import wire
from sandbox.answers import Answers, read_answers
from sandbox.autopsy import cause_of_death, out_of_cpu
from sandbox.child import Child, ChildQuota, Usage, whole_cpu_s
from sandbox.faults import Fault, FaultKind, Stage
from sandbox.limits import Limits
from sandbox.zygote_client import ZygoteClient

_BUSY_MACHINE_FACTOR = 3.0
"""A program that got little processor time is given up to this many times its deadline."""
_CPU_CHECK_INTERVAL_S = 0.25
_OWN_CPU_S = 0.5
"""Processor time of the harness in a child, not charged to the program."""


SimulateBySlot = Callable[[int, str, str], int]
"""``(slot, program text, its opponent's text) -> action``: what answers a program's ``simulate``."""


class ProgramDied(Exception):  # noqa: N818  an event, not an error of ours
    """The whole process is lost, with all its matches, after ``cpu_s`` seconds of processor time."""

    def __init__(self, fault: Fault, cpu_s: float = 0.0) -> None:
        super().__init__(fault.detail)
        self.fault = fault
        self.cpu_s = cpu_s


class RemotePolicy:
    """One program playing seat ``player`` of N matches in a child of its own. Use as a context manager.

    Every method that talks to the child raises :class:`ProgramDied` when the process is lost or has to be
    killed, and :class:`sandbox.zygote_client.ZygoteLost` when the sandbox itself is. ``simulate`` serves the
    program while an answer is awaited; the time that takes is not the program's.
    """

    def __init__(
        self,
        zygote_client: ZygoteClient,
        limits: Limits,
        player: int,
        count: int,
        simulate: SimulateBySlot | None = None,
    ) -> None:
        self._zygote = zygote_client
        self._simulate = simulate
        self._limits = limits
        self._player = player
        self.count = count
        self._cpu_budget_s = limits.cpu_s * count + _OWN_CPU_S
        self._child: Child | None = zygote_client.spawn(process_quota(limits, count))
        self._poll = select.poll()
        self._poll.register(self._child.read_fd, select.POLLIN)
        self.read_fd, self.write_fd = self._child.read_fd, self._child.write_fd
        self.sequence = 0
        self._heard: bytes | None = None
        self._stage = Stage.LOAD
        self._code = wire.BYTE_ACTIONS
        self._width = 1
        self._num_actions = 0
        self._legal = b""
        self._cpu_seen_s = 0.0
        self._cpu_seen_at = self._taken_at = time.monotonic()
        self.cpu_check_at_s = self._cpu_seen_at + _CPU_CHECK_INTERVAL_S

    def __enter__(self) -> RemotePolicy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kills and reaps the child. Safe to call twice."""
        if (child := self._child) is not None:
            self._child = None
            self._zygote.discard(child)

    # -- requests ------------------------------------------------------------------------------------------------
    def load(self, request: wire.LoadRequest) -> Answers:
        """Sends the program; slots that could not be instantiated come back with a fault."""
        size = len(request.source.encode("utf-8", "surrogatepass"))
        if size > self._limits.source_bytes:
            detail = f"the source is {size} bytes long, more than source_bytes={self._limits.source_bytes}"
            raise self._die(FaultKind.SYNTAX_ERROR, detail)
        self._code = wire.action_code(request.num_actions)
        self._width = self._code.width
        self._num_actions = request.num_actions
        self._legal = bytes(range(min(request.num_actions, wire.MAX_BYTE_ACTIONS)))
        self._post(request.pack())
        answers = self.take(self._limits.load_timeout_s)
        self._stage = Stage.MATCH
        return answers

    def post_actions(self, own: bytes, opponent: bytes) -> None:
        """Starts the next step of an action-history game; :meth:`take` ends it."""
        self.sequence = sequence = self.sequence + 1 & 0xFFFFFFFF
        self._post(sequence.to_bytes(4, "little") + own + opponent)

    def post_observations(self, updates: list[bytes | None]) -> None:
        """Starts the next step of a mapping game. ``updates`` come from an ``ObservationEncoder`` per slot."""
        self.sequence = self.sequence + 1 & 0xFFFFFFFF
        payload = wire.pack_updates(updates)
        self._post(wire.SEQUENCE.pack(self.sequence) + wire.LENGTH.pack(len(payload)) + payload)

    @property
    def move_timeout_s(self) -> float:
        return self._limits.move_timeout_s

    def go_on(self, sequence: int, unsent: bytes = b"", heard: bytes | None = None) -> None:
        """Takes over from :mod:`sandbox.plain_rounds`, which posted up to step ``sequence``: of this, ``unsent`` is
        still to be sent, and ``heard`` is what was read of the answer."""
        self.sequence = sequence
        self._heard = heard
        self._note_time()
        if unsent:
            self._post_rest(unsent)

    def set_stage(self, stage: Stage) -> None:
        """What later faults are booked under."""
        self._stage = stage

    def cpu_s(self) -> float:
        """Processor seconds used so far."""
        return self._zygote.cpu_s(self._alive())

    def _post(self, frame: bytes) -> None:
        try:
            sent = os.write(self.write_fd, frame)
        except BlockingIOError:
            sent = 0
        except BrokenPipeError:
            raise self._autopsy() from None
        if sent < len(frame):
            self._post_rest(frame[sent:])

    def _post_rest(self, rest: bytes) -> None:
        deadline = time.monotonic() + self._limits.load_timeout_s + self._limits.kill_grace_s
        poll = select.poll()
        poll.register(self.write_fd, select.POLLOUT)
        while rest:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._die(FaultKind.TIMEOUT, "the program's process stopped reading what it is sent")
            poll.poll(left * 1000)
            try:
                rest = rest[os.write(self.write_fd, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._autopsy() from None

    # -- replies -------------------------------------------------------------------------------------------------
    def take(self, timeout_s: float | None = None) -> Answers:
        """The answers to what was posted last. The soft deadline is per move: see :class:`Limits`."""
        deadline_s = self._limits.move_timeout_s if timeout_s is None else timeout_s
        size = 5 + self.count * self._width
        reply, self._heard = self._heard, None
        if reply is None and (reply := self._hear(deadline_s, size)) is None:
            reply = self._overdue(deadline_s, size)
        if len(reply) < size:
            if not reply:
                raise self._autopsy()
            reply += self._read_exactly(size - len(reply))
        if reply[:4] != self.sequence.to_bytes(4, "little"):
            raise self._broken_protocol("its answer is to another question")
        self._note_time()
        body = reply[5:]
        if reply[4] == 0 and self._width == 1 and not body.translate(None, self._legal):
            return Answers(body)
        return self._parse(reply[4], body)

    def _hear(self, patience_s: float, size: int) -> bytes | None:
        """Up to ``size`` bytes that the program sends, ``None`` if it takes longer; serves what it simulates."""
        served = False
        while True:
            asked_at = time.monotonic()
            # Calls that wait in the pipe must not keep a program going whose time is over.
            if (served and patience_s <= 0) or not self._poll.poll(patience_s * 1000):
                return None
            data = os.read(self.read_fd, size)
            if self._simulate is None or data[4:5] != wire.CALL_FLAG:
                return data
            slot, source, opponent_source = self._read_call(data)
            patience_s = max(0.0, patience_s - (time.monotonic() - asked_at))
            action = self._simulate(slot, source, opponent_source)
            self._post(wire.CALL_ANSWER.pack(self.sequence, action))
            served = True

    def _read_call(self, start: bytes) -> tuple[int, str, str]:
        """The rest of a simulation that is asked for."""
        size = wire.CALL_HEADER.size
        head = start[:size] + (self._read_exactly(size - len(start)) if len(start) < size else b"")
        sequence, _, slot, *lengths = wire.CALL_HEADER.unpack(head)
        if sequence != self.sequence or slot >= self.count or max(lengths) > self._limits.source_bytes:
            raise self._broken_protocol("it asks for a simulation that there cannot be")
        missing = sum(lengths) - len(start[size:])
        body = start[size:] + (self._read_exactly(missing) if missing > 0 else b"")
        try:
            texts = body[: lengths[0]].decode(), body[lengths[0] :].decode()
        except UnicodeDecodeError:
            raise self._broken_protocol("it asks to simulate what is not UTF-8") from None
        if missing < 0:
            raise self._broken_protocol("it goes on while its simulation is due")
        return slot, *texts

    def _parse(self, flags: int, body: bytes) -> Answers:
        try:
            return read_answers(flags, body, self._code, self._num_actions, self._read_exactly, self._fault)
        except ValueError as error:
            raise self._broken_protocol(str(error)) from None

    def _fault(self, told: wire.SlotFailure) -> Fault:
        kind = FaultKind(told.kind)
        detail = told.detail
        if kind is FaultKind.TIMEOUT:
            limit = "load_timeout_s" if self._stage is Stage.LOAD else "move_timeout_s"
            detail = f"{detail} ({limit}={getattr(self._limits, limit):g})"
        elif kind is FaultKind.MEMORY:
            detail = f"{detail} (memory_bytes={self._limits.memory_bytes})"
        return Fault(kind, self._stage, self._player, detail, told.traceback)

    def _read_exactly(self, size: int) -> bytes:
        deadline = time.monotonic() + self._limits.kill_grace_s * _BUSY_MACHINE_FACTOR
        data = b""
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise self._broken_protocol("its answer is cut off")
            chunk = os.read(self.read_fd, size - len(data))
            if not chunk:
                raise self._autopsy()
            data += chunk
        return data

    # -- deadlines -----------------------------------------------------------------------------------------------
    def _overdue(self, deadline_s: float, size: int) -> bytes:
        """Alarms a program that is stuck until its answer comes; returns what was read of it. Kills it if none does.

        The program ticks at each alarm that finds it at another match than the last one, and at each that
        raises a time-out in it, so there are at most two for each match.
        """
        cpu_before_s = self._cpu_seen_s + (self._taken_at - self._cpu_seen_at)  # at most: else it waited
        for _ in range(2 * self.count + 1):
            if self._outwait(cpu_before_s, deadline_s) and (reply := self._hear(deadline_s, size)) is not None:
                return reply
            cpu_before_s = self._zygote.cpu_s(self._alive())
            self._zygote.alarm(self._alive())
            grace_s = self._limits.kill_grace_s
            head = self._hear(grace_s, 5)
            if head is None and self._outwait(cpu_before_s, grace_s):
                head = self._hear(grace_s, 5)
            if head is None:
                break
            if len(head) < 5 or head[4] != wire.TICK:
                return head
            if (reply := self._hear(deadline_s, size)) is not None:
                return reply
        detail = f"no answer within {deadline_s:g} s, nor to the alarm: stuck in one call, or swallowing the time-out"
        raise self._die(FaultKind.TIMEOUT, detail)

    def _outwait(self, cpu_before_s: float, waited_s: float) -> bool:
        """Waits on while the program has not had half of ``waited_s``, which have passed, as processor time.

        On a busy machine the deadlines stretch so, up to a factor. Returns whether there is something to read.
        """
        give_up = time.monotonic() + waited_s * (_BUSY_MACHINE_FACTOR - 1)
        while time.monotonic() < give_up and self._zygote.cpu_s(self._alive()) - cpu_before_s < waited_s / 2:
            if self._poll.poll(waited_s * 250):
                return True
        return bool(self._poll.poll(0))

    def _note_time(self) -> None:
        self._taken_at = time.monotonic()
        if self._taken_at > self.cpu_check_at_s:
            self._check_cpu()

    def _check_cpu(self) -> None:
        self._cpu_seen_s = self._zygote.cpu_s(self._alive())
        self._cpu_seen_at = time.monotonic()
        self.cpu_check_at_s = self._cpu_seen_at + _CPU_CHECK_INTERVAL_S
        if self._cpu_seen_s > self._cpu_budget_s:
            raise self._die(FaultKind.TIMEOUT, out_of_cpu(self._limits))

    # -- the end -------------------------------------------------------------------------------------------------
    def _alive(self) -> Child:
        if self._child is None:
            raise RuntimeError("this program's process is already gone")
        return self._child

    def _bury(self) -> Usage:
        child = self._alive()
        self._child = None
        return self._zygote.kill(child)

    def _die(self, kind: FaultKind, detail: str) -> ProgramDied:
        usage = self._bury()
        return ProgramDied(Fault(kind, self._stage, self._player, detail), usage.cpu_s)

    def _broken_protocol(self, problem: str) -> ProgramDied:
        return self._die(FaultKind.KILLED, f"the program wrote to the referee's pipe: {problem}")

    def _autopsy(self) -> ProgramDied:
        """The process ended by itself."""
        usage = self._bury()
        kind, detail = cause_of_death(usage, self._limits, self._cpu_budget_s)
        return ProgramDied(Fault(kind, self._stage, self._player, detail), usage.cpu_s)


def process_quota(limits: Limits, count: int) -> ChildQuota:
    """What a process for ``count`` matches is born with; the referee itself keeps the finer account."""
    return ChildQuota(limits.memory_bytes, whole_cpu_s(limits.cpu_s * count + _OWN_CPU_S) + 1)
