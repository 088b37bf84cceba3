"""The programs of an archive in Redis, by reference; those read last are kept decoded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from evolve.archive import codec
from evolve.archive.commands import Commands
from evolve.archive.core import CorruptRecordError
from evolve.candidate import Candidate

KEPT = 512
"""A search draws its parents from few programs at a time; decoding one takes as long as asking the server for it."""


class Candidates:
    """The records of the hash ``key``. Such a record is written once and never changed: what was read stays true.
    Safe for threads."""

    def __init__(self, commands: Commands, key: str) -> None:
        self._commands = commands
        self._key = key
        self._kept: OrderedDict[str, Candidate] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, references: Sequence[str]) -> list[Candidate]:
        """In the order of ``references``, each an id or ``id@revision``.

        Raises :class:`CorruptRecordError` if one is missing or does not read back."""
        with self._lock:
            known = {each: self._kept[each] for each in references if each in self._kept}
        unread = [each for each in dict.fromkeys(references) if each not in known]
        if unread:
            records = self._commands.call("HMGET", self._key, *unread)
            known |= {each: self._decode(each, record) for each, record in zip(unread, records, strict=True)}
        with self._lock:
            for each, candidate in known.items():
                self._kept[each] = candidate
                self._kept.move_to_end(each)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return [known[each] for each in references]

    def _decode(self, reference: str, record: bytes | None) -> Candidate:
        name = f"{self._key}[{reference}]"
        if record is None:
            raise CorruptRecordError(f"the store's record {name} is missing: restore the store from a copy")
        return codec.decode_candidate(name, record)
