"""What counts as a move: an action, or a distribution over all actions. By real type, never by duck typing.

No method of a foreign object is called: an ``int`` subclass counts as the number it holds, whatever it says of
itself, and any other subclass is refused. The referee applies :func:`games.match.choose_action` to what comes out
of here, so being lenient about spelling (``True``, ``np.int64(1)``, ``1.0``) costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Any

import numpy as np

SUM_TOLERANCE = 1e-6

_INTEGERS = frozenset((int, bool, np.bool_, *(np.dtype(code).type for code in "bhilqBHILQ")))
_FLOATS = frozenset((float, np.float64, np.float32, np.float16))
_NUMBERS = _INTEGERS | _FLOATS


class MoveError(ValueError):
    """Not a move; the message says what was wrong with it."""


def read_move(move: Any, num_actions: int) -> int | tuple[float, ...]:
    """An action in ``range(num_actions)`` or a distribution of ``num_actions`` floats. Raises :class:`MoveError`.

    Accepts Python and numpy integers, ``IntEnum`` members, bools and integral floats as actions; ``list``,
    ``tuple`` and one-dimensional ``ndarray`` of nonnegative finite numbers that sum to 1 within 1e-6 as distributions.
    """
    kind = type(move)
    if kind in _INTEGERS:
        return _action(int(move), num_actions)
    if issubclass(kind, int):  # an IntEnum member, say; its value is read without its methods
        return _action(int.__index__(move), num_actions)
    if kind in _FLOATS:
        value = float(move)
        if not value.is_integer():
            raise MoveError(f"an action must be an integer, got {value!r}")
        return _action(int(value), num_actions)
    if kind is np.ndarray:
        if move.dtype.kind not in "biuf" or move.ndim != 1:
            raise MoveError(f"a distribution must be one-dimensional numbers, got {move.ndim}-d {move.dtype}")
        _require_length(move, num_actions)  # first: a view of one number may claim to be a terabyte long
        move = move.tolist()
    elif kind is not list and kind is not tuple:
        name = type.__dict__["__name__"].__get__(kind)[:60]
        raise MoveError(f"a move must be an int below {num_actions} or a distribution, got {name}")
    return _distribution(move, num_actions)


def _action(value: int, num_actions: int) -> int:
    if 0 <= value < num_actions:
        return value
    shown = str(value) if abs(value) < 1 << 64 else "a huge int"
    raise MoveError(f"action {shown} is not in 0..{num_actions - 1}")


def _require_length(values: Sized, num_actions: int) -> None:
    if len(values) != num_actions:
        raise MoveError(f"a distribution must have {num_actions} entries, got {len(values)}")


def _distribution(values: list[Any] | tuple[Any, ...], num_actions: int) -> tuple[float, ...]:
    _require_length(values, num_actions)
    if not all(type(value) in _NUMBERS for value in values):
        raise MoveError("a distribution must hold plain numbers only")
    try:
        probabilities = tuple(float(value) for value in values)
    except OverflowError:
        raise MoveError("a probability is a huge int") from None
    if problem := _problem(probabilities):
        raise MoveError(problem)
    return probabilities


def _problem(probabilities: tuple[float, ...]) -> str:
    """Why these numbers are no distribution; empty when they are."""
    if not all(map(math.isfinite, probabilities)):
        return "a probability is not finite"
    if min(probabilities) < 0:
        return f"a probability is negative: {min(probabilities)!r}"
    total = math.fsum(probabilities)
    if abs(total - 1.0) > SUM_TOLERANCE:
        return f"the probabilities sum to {total!r}, not 1"
    return ""
