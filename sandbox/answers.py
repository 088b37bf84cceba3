"""One step's answers of a program, read from its bytes. What is not as :mod:`sandbox.wire` has it is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from sandbox import wire
from sandbox.faults import Fault

_NOTHING: Mapping[int, Any] = MappingProxyType({})


class Answers:
    """One step's moves: ``actions`` of all N slots, and by slot the distributions and faults where there are any.

    In ``actions``, ``code.failed`` stands for a fault or a slot that was not to act, ``code.distribution``
    for an entry of ``distributions``.
    """

    __slots__ = ("actions", "distributions", "faults")

    def __init__(
        self,
        actions: bytes | list[int],
        distributions: Mapping[int, list[float]] = _NOTHING,
        faults: Mapping[int, Fault] = _NOTHING,
    ) -> None:
        self.actions = actions
        self.distributions = distributions
        self.faults = faults


def read_answers(
    flags: int,
    body: bytes,
    code: wire.ActionCode,
    num_actions: int,
    read: Callable[[int], bytes],
    fault_of: Callable[[wire.SlotFailure], Fault],
) -> Answers:
    """Answers whose actions are ``body``; what ``flags`` says is behind them is got by ``read``.

    Raises ``ValueError`` with what is wrong, and what ``read`` raises."""
    if flags & ~(wire.HAS_DISTRIBUTIONS | wire.HAS_FAILURES):
        raise ValueError("its answer has an unknown form")
    actions = body if code is wire.BYTE_ACTIONS else np.frombuffer(body, "<i4").tolist()
    odd = {action for action in set(actions) if not 0 <= action < num_actions} - {code.failed}
    if flags & wire.HAS_DISTRIBUTIONS:
        odd.discard(code.distribution)
    if odd:
        raise ValueError("its answer holds an illegal action")
    distributions = _distributions(actions, code, num_actions, read) if flags & wire.HAS_DISTRIBUTIONS else _NOTHING
    faults = _faults(actions, code, read, fault_of) if flags & wire.HAS_FAILURES else _NOTHING
    return Answers(actions, distributions, faults)


def _distributions(
    actions: bytes | list[int], code: wire.ActionCode, num_actions: int, read: Callable[[int], bytes]
) -> dict[int, list[float]]:
    """Numbers by slot; whether they are a distribution is for :func:`games.match.choose_action` to say."""
    slots = [slot for slot, action in enumerate(actions) if action == code.distribution]
    rows = np.frombuffer(read(len(slots) * num_actions * 8), "<f8").reshape(len(slots), num_actions).tolist()
    return dict(zip(slots, rows, strict=True))


def _faults(
    actions: bytes | list[int],
    code: wire.ActionCode,
    read: Callable[[int], bytes],
    fault_of: Callable[[wire.SlotFailure], Fault],
) -> dict[int, Fault]:
    """Each failed slot's own fault; those that do not tell theirs share the first."""
    size = wire.LENGTH.unpack(read(4))[0]
    if size > wire.MAX_FAILURES_BYTES:
        raise ValueError("its failure report is too long")
    told = {failure.slot: fault_of(failure) for failure in wire.unpack_failures(read(size))}
    if not told:
        raise ValueError("its failure report is empty")
    first = next(iter(told.values()))
    return {slot: told.get(slot, first) for slot, action in enumerate(actions) if action == code.failed}
