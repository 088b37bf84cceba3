"""Observations survive being sent as deltas, and what a child says about itself is read with suspicion."""

from __future__ import annotations

from copy import deepcopy

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import wire

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8)
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=20) | st.dictionaries(st.text(max_size=3), v, max_size=3), max_leaves=12
)
observations = st.lists(st.dictionaries(st.sampled_from("abcdef"), values, max_size=5), min_size=1, max_size=6)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(observations)
def test_any_sequence_of_observations_arrives(sequence: list[dict[str, object]]) -> None:
    encoder, received = wire.ObservationEncoder(), {}
    for observation in sequence:
        (update,) = wire.unpack_updates(wire.pack_updates([encoder.encode(observation)]))
        wire.apply_update(received, update)
        assert received == observation


@pytest.mark.parametrize("length", [0, 14, 15, 16, 300, 65_535, 65_536])
def test_lists_that_grow_in_place_cost_their_new_items_only(length: int) -> None:
    history = [[1, 2]] * length
    encoder, received = wire.ObservationEncoder(), {}
    for extra in ([], [[3, 4]], [[5, 6], [7, 8]]):
        history += extra
        update = encoder.encode({"history": history, "constant": "x" * 1000})
        if extra and length:
            assert len(update) < 40
        wire.apply_update(received, wire.unpack_updates(wire.pack_updates([update]))[0])
        assert received["history"] == history


def test_changes_inside_nested_lists_are_seen() -> None:
    board = [[0, 0], [0, 0]]
    encoder, received = wire.ObservationEncoder(), {}
    for row, column in ((0, 1), (1, 0), (0, 1)):
        board[row][column] += 1
        wire.apply_update(received, wire.unpack_updates(wire.pack_updates([encoder.encode({"board": board})]))[0])
        assert received["board"] == board
        board = deepcopy(board)


def test_values_that_msgpack_cannot_carry_are_the_games_error() -> None:
    with pytest.raises(TypeError):
        wire.ObservationEncoder().encode({"set": {1, 2}})


def test_slots_that_are_not_to_act_stay_empty() -> None:
    encoder = wire.ObservationEncoder()
    assert wire.unpack_updates(wire.pack_updates([None, encoder.encode({"a": 1}), None])) == [
        None,
        [{"a": 1}, {}, []],
        None,
    ]


def test_load_requests_round_trip() -> None:
    request = wire.LoadRequest("x = '\ud800é'", "action_history", 1, (3, 2**32 - 1), 3, 1000, 8192)
    packed = request.pack()
    assert wire.LENGTH.unpack(packed[:4])[0] == len(packed) - 4
    assert wire.LoadRequest.unpack(packed[4:]) == request


def test_failures_round_trip_within_their_caps() -> None:
    failures = [wire.SlotFailure(k, "memory", "é\ud800" * 1000, "line\n" * 5000) for k in range(200)]
    packed = wire.pack_failures(failures)
    assert len(packed) <= wire.MAX_FAILURES_BYTES
    told = wire.unpack_failures(packed[4:])
    assert told[0].slot == 0 and len(told[0].detail) == wire.MAX_DETAIL_CHARS
    assert len(told[0].traceback) == wire.MAX_TRACEBACK_CHARS and told[3].traceback == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91" * 60_000,
        msgpack.packb({"a": 1}),
        msgpack.packb([1]),
        msgpack.packb([[0, "memory", "x"]]),
        msgpack.packb([["0", "memory", "x", "y"]]),
        msgpack.packb([[True, "memory", "x", "y"]]),
        msgpack.packb([[0, b"memory", "x", "y"]]),
        msgpack.packb([[0, "memory", "x", "y"]]) + b"\x00",
        b"\x91\x94\x00\xa1\xff\xa1x\xa1x",
        b"\xdd\xff\xff\xff\xff",
        msgpack.packb(msgpack.ExtType(1, b"x")),
    ],
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="failure"):
        wire.unpack_failures(body)
