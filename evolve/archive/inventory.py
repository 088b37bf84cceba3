"""The runs that a server keeps, as wholes: which there are, one copied out, put back, or deleted.

A run is copied type by type and not in the server's own dump format, which other versions of it may not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from evolve.archive.commands import Commands, Keys
from evolve.archive.core import CorruptRecordError

BATCH = 500

Entry = tuple[str, str, list[bytes]]
"""One key of a run: its name without the run's prefix, its type, and its parts in the order its type has them."""

GROUP = "evolvers"
"""Of the streams of work in flight (``work.lua``), all of whose entries are pending."""

_READ: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "string": ("GET", ()),
    "hash": ("HGETALL", ()),
    "list": ("LRANGE", (0, -1)),
    "set": ("SMEMBERS", ()),
    "zset": ("ZRANGE", (0, -1, "WITHSCORES")),
    "stream": ("XPENDING", (GROUP, "-", "+", 2**31)),
}
_WRITE = {"string": "SET", "hash": "HSET", "list": "RPUSH", "set": "SADD", "zset": "ZADD"}


def run_ids(commands: Commands) -> list[str]:
    """All runs of the server, sorted."""
    found = {re.fullmatch(r"\{csro:(.+)\}:schema", key) for key in _scan(commands, "{csro:*}:schema")}
    return sorted(match[1] for match in found if match)


def dump_run(commands: Commands, run_id: str) -> list[Entry]:
    """Everything of a run, as it stood at one moment. Marks of calls under way, which end by themselves, are left out.

    Raises :class:`CorruptRecordError` for a key of a type that no run has."""
    prefix = Keys(run_id).prefix + ":"
    keys = [key for key in sorted(_scan(commands, prefix + "*")) if not key.startswith(prefix + "mark:")]
    kinds = [commands.call("TYPE", key) for key in keys]
    names = [kind.decode() if isinstance(kind, bytes) else str(kind) for kind in kinds]
    if strange := [f"{key} is a {name}" for key, name in zip(keys, names, strict=True) if name not in _READ]:
        raise CorruptRecordError(f"the store holds what no run has: {strange[0]}")
    reads = [(_READ[name][0], key, *_READ[name][1]) for key, name in zip(keys, names, strict=True)]
    values = commands.transaction(*reads)
    return [
        (key.removeprefix(prefix), name, _pending(value) if name == "stream" else _parts(value))
        for key, name, value in zip(keys, names, values, strict=True)
        if value is not None
    ]


def _parts(value: bytes | list[bytes]) -> list[bytes]:
    return value if isinstance(value, list) else [value]


def _pending(entries: list[list[Any]]) -> list[bytes]:
    """Of each entry its id, consumer and number of deliveries."""
    return [part for entry, consumer, _, times in entries for part in (entry, consumer, b"%d" % times)]


def restore_run(commands: Commands, run_id: str, entries: Iterable[Entry]) -> None:
    """Puts a dumped run back, under ``run_id``, where the server has none of that name.

    Raises ``ValueError`` for a type that no run has. The schema's key is written last: without it there is no run."""
    key = Keys(run_id)
    for name, kind, parts in sorted(entries, key=lambda entry: entry[0] == "schema"):
        if kind not in _READ:
            raise ValueError(f"key {name} is a {kind}, which no run has")
        if kind == "stream":
            _restore_stream(commands, key(name), parts)
            continue
        width = 2 if kind in ("hash", "zset") else 1
        commands.call("DEL", key(name))
        for start in range(0, len(parts), BATCH * width):
            chunk: list[Any] = parts[start : start + BATCH * width]
            if kind == "zset":
                pairs = zip(chunk[1::2], chunk[::2], strict=True)
                chunk = [part for pair in pairs for part in pair]
            commands.call(_WRITE[kind], key(name), *chunk)


def _restore_stream(commands: Commands, key: str, parts: list[bytes]) -> None:
    """Whoever held the entries is not there: their leases have run out, a claim takes them over."""
    commands.call("DEL", key)
    for entry in parts[::3]:
        commands.call("XADD", key, entry, "restored", 1)
    commands.call("XGROUP", "CREATE", key, GROUP, "$", "MKSTREAM")
    for entry, consumer, times in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        commands.call("XCLAIM", key, GROUP, consumer, 0, entry, "TIME", 0, "RETRYCOUNT", times, "FORCE", "JUSTID")


def delete_run(commands: Commands, run_id: str) -> int:
    """Deletes a run; returns how many keys it had."""
    keys = list(_scan(commands, Keys(run_id).prefix + ":*"))
    for start in range(0, len(keys), BATCH):
        commands.call("UNLINK", *keys[start : start + BATCH])
    return len(keys)


def _scan(commands: Commands, pattern: str) -> Iterator[str]:
    cursor, seen = b"0", set[str]()
    while True:
        cursor, keys = commands.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        for key in {raw.decode() for raw in keys} - seen:
            seen.add(key)
            yield key
        if cursor == b"0":
            return
