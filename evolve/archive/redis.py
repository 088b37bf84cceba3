"""The store of a run in Redis (or Valkey), and the connection all its parts share.

All durable state of a run is there, under keys ``{csro:<run id>}:...``: any process that opens the same run id
goes on with it. A store can be pickled, and opens its own connection where it is unpickled. This module and
``server.py`` alone know the Redis client.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import AuthorizationError, NoPermissionError, NoScriptError
from redis.retry import Retry

from evolve.archive import codec
from evolve.archive.aside import Threads
from evolve.archive.commands import Argument, Keys
from evolve.archive.core import ArchiveSettings, CorruptRecordError, StoreUnavailableError
from evolve.archive.pause import to_stderr, when_there_is_room
from evolve.archive.redis_archive import RedisArchive
from evolve.archive.redis_records import RedisArms, RedisBuckets, RedisCompletions, RedisLedger, RedisPayoffs
from evolve.archive.server import RESUME_HINT, disk_full, ensure_server, sync_every_second
from evolve.archive.store import Record
from evolve.llm.budget import Budget

RETRIES = 120
"""Of a call to a server that answered the last one, unless :data:`PATIENCE_S` end before."""

PATIENCE_S = 60.0
"""From the first failure of a call: a server may be restarted meanwhile. One whose machine is gone does not even
refuse, so that each try takes as long as :data:`CONNECT_TIMEOUT_S`."""

CONNECT_TIMEOUT_S = 5.0

RETRIES_OF_THE_SILENT = 3
"""Of a call to one that did not: a wrong address is told at once, and calls that queue for a server that is gone do not
wait a minute each."""

SOCKET_TIMEOUT_S = 30.0

_PARTS = {
    "found": ("island", "work"),
    "claim": ("island", "work"),
    "renew": ("island", "work"),
    "expire": ("island", "work"),
    "sample": ("island", "sampling"),
    "commit": ("island", "work", "upkeep"),
}
"""What is put before a script: the Lua functions it calls."""

T = TypeVar("T")


def open_store(run_id: str, data_dir: Path) -> RedisStore:
    """The store of a run: at ``$CSRO_REDIS_URL`` if that is set, else with the embedded server of ``data_dir``.

    For the run's driver, which also sees to it that the embedded server's data reach the disk; its workers get
    the store pickled.
    Raises :class:`StoreUnavailableError` or :class:`SchemaVersionError`, each with one line on what to do."""
    if url := os.environ.get("CSRO_REDIS_URL"):
        return RedisStore(url, run_id)
    store = RedisStore(ensure_server(data_dir), run_id, data_dir)
    store.keep_synced()
    return store


class Connection:
    """Commands to one server, repeated while it is gone; an embedded one is brought back by whoever misses it first.

    Safe for threads. Implements :class:`evolve.archive.commands.Commands`."""

    def __init__(self, url: str, data_dir: Path | None = None) -> None:
        self._data_dir = data_dir
        self.closing = threading.Event()
        self._connect(url)
        backoff = ExponentialWithJitterBackoff(base=0.02, cap=1.0)
        self._retry = Retry(backoff, RETRIES_OF_THE_SILENT, (redis.ConnectionError, redis.TimeoutError))
        self.call("PING")

    def _connect(self, url: str) -> None:
        self.url = url
        try:
            # One loop retries (ours, for it also revives the server), so the client's own does not.
            self._client = redis.Redis.from_url(
                url,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=SOCKET_TIMEOUT_S,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                protocol=2,
            )
        except ValueError:  # its text may quote a part of the password
            raise StoreUnavailableError(
                "CSRO_REDIS_URL does not read as a Redis URL: percent-encode special characters of its password"
            ) from None
        # Answers as they come: the client's own reshaping of them changes from version to version.
        self._client.response_callbacks.clear()

    @property
    def name(self) -> str:
        """The server for messages, without its password."""
        if self._data_dir is not None:
            return str(self._data_dir)
        parts = urlsplit(self.url)
        return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"

    def call(self, *command: Argument) -> Any:
        return self._attempt(lambda: self._client.execute_command(*command))  # type: ignore[no-untyped-call]

    def carries_out(self, *command: Argument) -> bool:
        """``call`` of a command that some servers keep from their customers; false if this one, or our user's rights
        there, refuse it."""
        try:
            self.call(*command)
        except redis.ResponseError:  # a server that does not know it
            return False
        except StoreUnavailableError as error:
            if isinstance(error.__cause__, NoPermissionError):
                return False
            raise
        return True

    def transaction(self, *commands: Sequence[Argument]) -> list[Any]:
        def send() -> list[Any]:
            with self._client.pipeline(transaction=True) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
                return pipeline.execute()

        return self._attempt(send)

    def script(self, name: str, keys: Sequence[str] | Sequence[bytes], arguments: Sequence[Argument]) -> Any:
        text, digest = _script(name)
        try:
            return self.call("EVALSHA", digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return self.call("EVAL", text, len(keys), *keys, *arguments)

    def stop_waiting(self) -> None:
        """Calls no longer wait for a server that is gone, nor for room on its disk, and bring no server back."""
        self.closing.set()

    def close(self) -> None:
        self._client.close()

    def _attempt(self, send: Callable[[], T]) -> T:
        return when_there_is_room(lambda: self._once(send), to_stderr, self.closing)

    def _once(self, send: Callable[[], T]) -> T:
        failures_s: list[float] = []

        def in_time(error: Exception) -> bool:
            failures_s.append(time.monotonic())
            return self._is_worth_another(error) and failures_s[-1] - failures_s[0] < PATIENCE_S

        try:
            answer = self._retry.call_with_retry(send, self._heal, is_retryable=in_time)
        except (redis.AuthenticationError, AuthorizationError, NoPermissionError) as error:
            raise StoreUnavailableError(
                f"the store at {self.name} refused our name or password ({error}): check CSRO_REDIS_URL"
            ) from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            self._retry.update_retries(RETRIES_OF_THE_SILENT)  # those of other threads, under way, too
            raise StoreUnavailableError(
                f"the store at {self.name} does not answer ({error}): start it, or mend CSRO_REDIS_URL, {RESUME_HINT}"
            ) from error
        except redis.ResponseError as error:
            if refusal := self._refusal(error):
                raise refusal from error
            raise
        self._retry.update_retries(RETRIES)
        return answer

    def _is_worth_another(self, error: Exception) -> bool:
        return _is_passing(error) and not self.closing.is_set()

    def _heal(self, error: Exception) -> None:
        """After a lost connection: bring the embedded server back (one process does, the others wait for it)."""
        if self._data_dir is not None and self._is_worth_another(error):
            url = ensure_server(self._data_dir, revive=True)
            if url != self.url:
                self._connect(url)

    def _refusal(self, error: redis.ResponseError) -> RuntimeError | None:
        """What an answer of the server means for the run, if it is more than a mistake of ours."""
        text = str(error)
        if "No space left" in text or ("MISCONF" in text and self._data_dir is not None):
            return disk_full(self.name)
        if "MISCONF" in text or "READONLY" in text:
            return StoreUnavailableError(f"the store at {self.name} takes no writes ({text}): mend it, {RESUME_HINT}")
        if isinstance(error, redis.OutOfMemoryError) or "OOM" in text:
            return StoreUnavailableError(f"the store at {self.name} is out of memory: give it more, {RESUME_HINT}")
        if "WRONGTYPE" in text:
            return CorruptRecordError(f"a key of the store at {self.name} is not of its kind: {text}")
        return None


def _is_passing(error: Exception) -> bool:
    return not isinstance(error, redis.AuthenticationError | AuthorizationError)


@cache
def _script(name: str) -> tuple[str, str]:
    """The text of a script, and the digest by which a server that has seen it knows it."""
    folder = Path(__file__).parent
    names = (*_PARTS.get(name, ()), name)
    text = "\n".join((folder / f"{each}.lua").read_text(encoding="utf-8") for each in names)
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisStore:
    """The :class:`evolve.archive.store.Store` of one run at ``url``.

    ``data_dir`` is given for an embedded server, which is then brought back if it dies. Raises
    :class:`StoreUnavailableError` if nothing answers, :class:`SchemaVersionError` if the run was written by a
    csro that stores otherwise."""

    def __init__(self, url: str, run_id: str, data_dir: Path | None = None) -> None:
        self.run_id = run_id
        self.data_dir = data_dir
        self._keys = Keys(run_id)
        self._connection = Connection(url, data_dir)
        self._check_schema()
        self._completions = RedisCompletions(self._connection, self._keys)
        self._payoffs = RedisPayoffs(self._connection, self._keys)
        self.arms = RedisArms(self._connection, self._keys)
        self.buckets = RedisBuckets(self._connection)
        self.aside = Threads()
        self._checkpoints, self._events = self._keys("checkpoints"), self._keys("events")

    def __reduce__(self) -> tuple[type[RedisStore], tuple[str, str, Path | None]]:
        return RedisStore, (self._connection.url, self.run_id, self.data_dir)

    def __repr__(self) -> str:
        return f"RedisStore({self.run_id!r} at {self._connection.name})"

    def _check_schema(self) -> None:
        key = self._keys("schema")
        self._connection.call("SETNX", key, codec.SCHEMA_VERSION)
        written = self._connection.call("GET", key).decode(errors="replace")
        codec.check_version(int(written) if written.isdecimal() else written, f"run {self.run_id}")

    @property
    def connection(self) -> Connection:
        """For what concerns a run as a whole (see ``evolve.archive.inventory``)."""
        return self._connection

    @property
    def url(self) -> str:
        return self._connection.url

    @property
    def where(self) -> str:
        """The server for messages: its data directory if it is embedded, else its address without the password."""
        return self._connection.name

    def archive(self, task_id: str, settings: ArchiveSettings) -> RedisArchive:
        return RedisArchive(self._connection, self._keys, task_id, settings)

    def ledger(self, budget: Budget) -> RedisLedger:
        return RedisLedger(self._connection, self._keys, budget)

    @property
    def completions(self) -> RedisCompletions:
        return self._completions

    @property
    def payoffs(self) -> RedisPayoffs:
        return self._payoffs

    def now_s(self) -> float:
        seconds, microseconds = self._connection.call("TIME")
        return int(seconds) + int(microseconds) / 1e6

    def save(self, name: str, record: Record) -> None:
        self._connection.call("HSET", self._checkpoints, name, codec.encode_record(record))

    def load(self, name: str) -> Record | None:
        record = self._connection.call("HGET", self._checkpoints, name)
        return None if record is None else codec.decode_record(f"{self._checkpoints}[{name}]", record)

    def log(self, event: Record) -> None:
        mark = self._keys("mark", secrets.token_hex(8))
        self._connection.script("append", (self._events, mark), (codec.encode_record(event),))

    def events(self, start: int = 0, count: int | None = None) -> list[Record]:
        records = self._connection.call("LRANGE", self._events, start, -1 if count is None else start + count - 1)
        return [codec.decode_record(f"{self._events}[{start + i}]", record) for i, record in enumerate(records)]

    def keep_synced(self) -> None:
        """Has the embedded server's data written to the disk every second from now on, until ``close``."""
        if self.data_dir is not None:
            arguments = (self.data_dir, self._connection.closing)
            threading.Thread(target=sync_every_second, args=arguments, name="store sync", daemon=True).start()

    def close(self) -> None:
        """Ends what is under way and closes this process's connections; the server and the data stay."""
        self._connection.stop_waiting()
        self.aside.close()
        self._connection.close()
