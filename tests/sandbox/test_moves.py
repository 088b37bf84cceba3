"""What counts as a move. No method of the program's objects may run while finding out."""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from games.match import choose_action
from sandbox.moves import MoveError, read_move


class Throw(IntEnum):
    ROCK = 0
    PAPER = 1


@pytest.mark.parametrize(
    ("move", "read"),
    [
        (2, 2),
        (True, 1),
        (1.0, 1),
        (np.int64(2), 2),
        (np.uint8(2), 2),
        (np.bool_(True), 1),
        (np.float32(2.0), 2),
        (Throw.PAPER, 1),
        ([0.5, 0.25, 0.25], (0.5, 0.25, 0.25)),
        ((1, 0, 0), (1.0, 0.0, 0.0)),
        (np.array([0, 1, 0]), (0.0, 1.0, 0.0)),
        ([np.float64(1.0), 0, np.int32(0)], (1.0, 0.0, 0.0)),
        ([1.0 - 5e-7, 0.0, 0.0], (1.0 - 5e-7, 0.0, 0.0)),
    ],
)
def test_moves(move: object, read: object) -> None:
    assert read_move(move, 3) == read
    assert type(read_move(move, 3)) is type(read)


class Trap:
    """Any use of it ends the test."""

    def __getattribute__(self, name: str) -> object:
        raise SystemExit(name)

    __eq__ = __lt__ = __index__ = __int__ = __float__ = __len__ = __iter__ = __array__ = __bool__ = __getattribute__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class TrapInt(int):
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __index__ = __int__ = lambda *_: (_ for _ in ()).throw(SystemExit)
    __hash__ = int.__hash__


class TrapList(list):
    __len__ = __iter__ = __getitem__ = lambda *_: (_ for _ in ()).throw(SystemExit)


@pytest.mark.parametrize(
    "move",
    [
        3, -1, 10**5000, 0.5, math.nan, math.inf, None, "1", b"1", {0: 1.0}, {0}, 1j, range(3), iter([1, 0, 0]),
        [], [1.0], [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [1.5, -0.5, 0.0], [math.nan, 0.5, 0.5], [math.inf, 0.0, 0.0],
        [10**400, 0, 0], ["1", 0, 0], [None, 0, 1], [[1], [0], [0]], [1j, 0, 0], [1.0 + 2e-6, 0.0, 0.0],
        np.ones((3, 3)) / 9, np.array(1), np.array([1j, 0, 0]), np.array([object()] * 3), np.array(["1", "0", "0"]),
        np.ma.array([1.0, 0.0, 0.0]), np.ones(10**6),
        int,
    ],
    ids=lambda move: type(move).__name__,
)  # fmt: skip
def test_not_moves(move: object) -> None:
    with pytest.raises(MoveError) as caught:
        read_move(move, 3)
    assert len(str(caught.value)) < 200


TRAPS = {  # made when asked for: a test runner looks at its parameters
    "object": Trap,
    "int out of range": lambda: TrapInt(3),
    "list": lambda: TrapList([1, 0, 0]),
    "object inside": lambda: [Trap(), 0, 0],
    "int inside": lambda: (TrapInt(1), 0, 0),
    "class": lambda: Trap,
}


@pytest.mark.parametrize("name", TRAPS)
def test_no_method_of_a_strange_object_runs(name: str) -> None:
    with pytest.raises(MoveError):
        read_move(TRAPS[name](), 3)


def test_an_int_subclass_is_the_number_it_holds() -> None:
    assert read_move(TrapInt(1), 3) == 1
    assert type(read_move(TrapInt(1), 3)) is int


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda w: sum(w) > 1e-3))
def test_every_distribution_read_is_one_the_referee_can_sample(weights: list[float]) -> None:
    probabilities = [w / sum(weights) for w in weights]
    read = read_move(probabilities, 3)
    assert isinstance(read, tuple)
    action = choose_action(list(read), 3, None, np.random.default_rng(0))
    assert probabilities[action] > 0
