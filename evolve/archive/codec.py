"""How records are written to the store: msgpack with a schema version and a checksum, sources compressed.

A record is ``[schema version, crc32 of the body, body]``; its body is ``[kind, value]``, the value made of plain
numbers, strings, lists and maps, so that reading one can run no code. Whatever does not read back raises
:class:`CorruptRecordError` naming the key; nothing is skipped or guessed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import asdict, astuple, fields
from typing import Any, TypeVar

import msgpack

from evolve.archive.core import ArchiveSettings, CorruptRecordError, SchemaVersionError
from evolve.archive.store import Record
from evolve.candidate import Candidate
from evolve.llm.core import Completion, Prompt
from evolve.program import Program
from evolve.scoring import Evaluation, Failed, OpponentReturn, Scored

SCHEMA_VERSION = 3
"""Raise it whenever a record or a key changes its meaning."""

T = TypeVar("T")

_MALFORMED = (ValueError, TypeError, KeyError, RecursionError, zlib.error, msgpack.UnpackException)


_SCORED = tuple(each.name for each in fields(Scored) if each.name != "by_opponent")
"""In their order of declaration; ``by_opponent`` is written before them."""


def check_version(found: object, where: str) -> None:
    """Raises :class:`SchemaVersionError` unless ``found`` is this program's schema version."""
    if found != SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{where} was written with store schema {found!r}, this csro has {SCHEMA_VERSION}: go on with the csro "
            "that wrote it, or start a new run under another run id"
        )


def encode_candidate(candidate: Candidate) -> bytes:
    evaluation = candidate.evaluation
    if isinstance(evaluation, Scored):
        rest = [getattr(evaluation, name) for name in _SCORED]
        returns = {name: astuple(value) for name, value in evaluation.by_opponent.items()}
        outcome: object = ("scored", returns, *rest)
    else:
        outcome = ("failed", evaluation.stage, evaluation.fault, evaluation.traceback, evaluation.level)
    source = zlib.compress(candidate.program.source.encode("utf-8", "surrogatepass"))
    return _encode("candidate", (source, outcome, candidate.parents, candidate.operator, candidate.request_key))


def decode_candidate(key: str, record: bytes) -> Candidate:
    def build(value: Any) -> Candidate:
        source, outcome, parents, operator, request_key = value
        text = zlib.decompress(source).decode("utf-8", "surrogatepass")
        return Candidate(Program(text), _evaluation(outcome), tuple(parents), operator, request_key)

    return _decode("candidate", key, record, build)


def _evaluation(outcome: list[Any]) -> Evaluation:
    kind, *values = outcome
    if kind == "failed":
        return Failed(*values)
    if kind != "scored":
        raise ValueError(f"no evaluation of kind {kind!r}")
    by_opponent = {name: OpponentReturn(*value) for name, value in values[0].items()}
    rest = dict(zip(_SCORED, values[1:], strict=True))
    for name in ("welfare", "traits"):
        rest[name] = tuple(rest[name])
    rest["returns"] = {name: tuple(values) for name, values in rest["returns"].items()}
    return Scored(by_opponent=by_opponent, **rest)


def encode_completion(prompt: Prompt, completion: Completion) -> bytes:
    return _encode("completion", (asdict(prompt), asdict(completion)))


def decode_completion(key: str, record: bytes) -> tuple[Prompt, Completion]:
    def build(value: Any) -> tuple[Prompt, Completion]:
        prompt, completion = value
        return Prompt(**prompt), Completion(**completion)

    return _decode("completion", key, record, build)


def encode_return(value: OpponentReturn) -> bytes:
    return _encode("return", astuple(value))


def decode_return(key: str, record: bytes) -> OpponentReturn:
    return _decode("return", key, record, lambda value: OpponentReturn(*value))


def encode_settings(settings: ArchiveSettings) -> bytes:
    return _encode("settings", asdict(settings))


def decode_settings(key: str, record: bytes) -> ArchiveSettings:
    def build(value: Any) -> ArchiveSettings:
        return ArchiveSettings(**{**value, "variants": tuple(value["variants"])})

    return _decode("settings", key, record, build)


def encode_record(record: Record) -> bytes:
    """A checkpoint or event. Raises ``TypeError`` on a value that msgpack cannot carry."""
    return _encode("record", dict(record))


def decode_record(key: str, record: bytes) -> Record:
    return _decode("record", key, record, dict[str, object])


def _encode(kind: str, value: object) -> bytes:
    body = _pack((kind, value))
    return _pack((SCHEMA_VERSION, zlib.crc32(body), body))


def _decode(kind: str, key: str, record: bytes, build: Callable[[Any], T]) -> T:
    try:
        version, checksum, body = _unpack(record)
        if zlib.crc32(body) != checksum:
            raise ValueError("its checksum does not match")
        check_version(version, f"the store's record {key}")
        found, value = _unpack(body)
        if found != kind:
            raise ValueError(f"a {found} where a {kind} belongs")
        return build(value)
    except _MALFORMED as error:
        reason = str(error) or type(error).__name__
        raise CorruptRecordError(f"the store's record {key} does not read back: {reason}") from error


def _pack(value: object) -> bytes:
    return bytes(msgpack.packb(value, unicode_errors="surrogatepass"))


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, unicode_errors="surrogatepass", strict_map_key=False)
