"""The programs of an archive in Redis, by reference; those read last are kept decoded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from evolve.archive import codec
from evolve.archive.commands import Commands
from evolve.archive.core import CorruptRecordError
from evolve.candidate import Candidate

KEPT = 512
"""A search draws its parents from few programs at a time; decoding one takes as long as asking the server for it."""


class Candidates:
    """The records of the hash ``key``. Such a record is written once and never changed: what was read stays true."""

    def __init__(self, commands: Commands, key: str) -> None:
        self._commands = commands
        self._key = key
        self._kept: OrderedDict[str, Candidate] = OrderedDict()

    def get(self, references: Sequence[str]) -> list[Candidate]:
        """In the order of ``references``, each an id or ``id@revision``.

        Raises :class:`CorruptRecordError` if one is missing or does not read back."""
        unread = [each for each in dict.fromkeys(references) if each not in self._kept]
        read = dict(zip(unread, self._commands.call("HMGET", self._key, *unread), strict=True)) if unread else {}
        found = [self._kept[each] if each in self._kept else self._decode(each, read[each]) for each in references]
        for each, candidate in zip(references, found, strict=True):
            self._kept[each] = candidate
            self._kept.move_to_end(each)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def _decode(self, reference: str, record: bytes | None) -> Candidate:
        name = f"{self._key}[{reference}]"
        if record is None:
            raise CorruptRecordError(f"the store's record {name} is missing: restore the store from a copy")
        return codec.decode_candidate(name, record)
