"""Records: what goes in comes out, and what was damaged is reported by its key."""

from __future__ import annotations

import zlib

import msgpack
import pytest
from archive_builders import failed, scored
from hypothesis import given
from hypothesis import strategies as st

from evolve.archive import codec
from evolve.archive.core import ArchiveSettings, CorruptRecordError, SchemaVersionError
from evolve.archive.redis import RedisStore
from evolve.candidate import Candidate
from evolve.program import Program
from evolve.scoring import Failed, OpponentReturn, Scored

TEXT = st.text(st.characters(codec=None), max_size=40)
NUMBER = st.floats(allow_nan=False)
RETURNS = st.builds(OpponentReturn, NUMBER, NUMBER, st.integers(0, 1000), st.integers(0, 9))
EVALUATIONS = st.one_of(
    st.builds(Scored, NUMBER, NUMBER, st.dictionaries(TEXT, RETURNS, max_size=4), TEXT),
    st.builds(Failed, TEXT, TEXT, TEXT),
)
CANDIDATES = st.builds(
    Candidate, st.builds(Program, TEXT), EVALUATIONS, st.lists(TEXT, max_size=3).map(tuple), TEXT, TEXT
)


@given(CANDIDATES)
def test_candidates_come_back_whole(candidate: Candidate) -> None:
    assert codec.decode_candidate("key", codec.encode_candidate(candidate)) == candidate


@given(CANDIDATES, st.data())
def test_any_damaged_byte_is_noticed(candidate: Candidate, data: st.DataObject) -> None:
    record = bytearray(codec.encode_candidate(candidate))
    position = data.draw(st.integers(0, len(record) - 1))
    record[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises((CorruptRecordError, SchemaVersionError), match="key"):
        codec.decode_candidate("key", bytes(record))


@given(st.binary(max_size=60))
def test_noise_is_no_record(noise: bytes) -> None:
    with pytest.raises((CorruptRecordError, SchemaVersionError), match="programs"):
        codec.decode_candidate("programs[x]", noise)


def test_a_record_of_another_kind_is_no_candidate() -> None:
    with pytest.raises(CorruptRecordError, match="a settings where a candidate belongs"):
        codec.decode_candidate("key", codec.encode_settings(ArchiveSettings()))


def test_a_sound_record_of_another_schema_says_what_to_do() -> None:
    version, _, body = msgpack.unpackb(codec.encode_candidate(scored("a", 1.0)))
    other = msgpack.packb([version + 1, zlib.crc32(body), body])
    with pytest.raises(SchemaVersionError, match="start a new run"):
        codec.decode_candidate("key", other)


def test_sources_are_compressed() -> None:
    source = "def policy(history):\n" + "    x = history[-1] + 1\n" * 200
    assert len(codec.encode_candidate(Candidate(Program(source), failed("x").evaluation))) < len(source) / 5


def test_a_damaged_record_in_the_store_is_named(redis_store: RedisStore) -> None:
    archive = redis_store.archive("task", ArchiveSettings())
    candidate = scored("a", 1.0)
    archive.found([candidate])
    key = f"{{csro:{redis_store.run_id}}}:archive:task:programs"
    connection = redis_store._connection
    connection.call("HSET", key, candidate.program.id, b"\x93\x01\x02")
    with pytest.raises(CorruptRecordError, match=f"task:programs.{candidate.program.id}"):
        archive.best(1)
    connection.call("HDEL", key, candidate.program.id)
    with pytest.raises(CorruptRecordError, match="is missing"):
        archive.best(1)
    connection.call("DEL", key)
    connection.call("SET", key, "not a hash")
    with pytest.raises(CorruptRecordError, match="not of its kind"):
        archive.candidate(candidate.program.id)


def test_a_run_of_another_schema_is_refused_before_anything_is_read(redis_store: RedisStore) -> None:
    key = f"{{csro:{redis_store.run_id}}}:schema"
    for written in ("99", "unreadable"):
        redis_store._connection.call("SET", key, written)
        with pytest.raises(SchemaVersionError, match=rf"run {redis_store.run_id} .*{written}.*start a new run"):
            RedisStore(redis_store.url, redis_store.run_id)


@pytest.mark.parametrize("run_id", ["", "a}b", "a b", "*"])
def test_run_ids_that_would_mix_up_keys_are_refused(redis_store: RedisStore, run_id: str) -> None:
    with pytest.raises(ValueError, match="run id"):
        RedisStore(redis_store.url, run_id)
