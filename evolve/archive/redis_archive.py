"""A task's archive in Redis: each step that touches several keys is one Lua script beside this file.

Work in flight is a sorted set of leases by their end. A commit is fenced by the attempt number and does all
its effects in the same script, so effects happen exactly once, however often a call is repeated.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgpack

from evolve.archive import codec
from evolve.archive.commands import Commands, Keys
from evolve.archive.core import (
    ArchiveSettings,
    Commit,
    CorruptRecordError,
    IslandStatus,
    Parents,
    Progress,
    Ticket,
)
from evolve.archive.island import Entry, arrange, check_uniforms, entry, founding
from evolve.candidate import Candidate, IslandRef
from evolve.program import Program
from evolve.scoring import Failed


class RedisArchive:
    """The archive of one task, opened over a connection; made by ``RedisStore.archive``."""

    def __init__(self, commands: Commands, keys: Keys, task_id: str, settings: ArchiveSettings) -> None:
        self._commands = commands
        name = keys("settings", task_id)
        commands.call("SETNX", name, codec.encode_settings(settings))
        self._settings = codec.decode_settings(name, commands.call("GET", name))
        shared = ("state", "programs", "ranking", "leases", "proposals", "operations", "claims")
        each = ("ranking", "clusters", "members")
        self._keys = [keys("archive", task_id, part) for part in shared]
        for island in range(self._settings.num_islands):
            self._keys += [keys("archive", task_id, "island", island, part) for part in each]
        self._state, self._programs, self._ranking = self._keys[:3]
        self._operations = self._keys[5]
        self._packed_settings = msgpack.packb(asdict(self._settings))

    @property
    def settings(self) -> ArchiveSettings:
        return self._settings

    def found(self, founders: Sequence[Candidate]) -> None:
        distinct, entries = founding(founders, self._settings.return_scale)
        scored = {each.id: each for each in entries}
        rows = [
            (i, codec.encode_candidate(c), _member(scored[i]), scored[i].score)
            if i in scored
            else (i, codec.encode_candidate(c), "", 0.0)
            for i, c in distinct.items()
        ]
        self._script("found", msgpack.packb(rows, use_bin_type=False))  # Lua's msgpack knows no bin type

    def claim(self, worker: str, now_s: float) -> Ticket | None:
        answer = self._script("claim", f"{worker}:{secrets.token_hex(8)}", repr(now_s))
        if answer == 0:
            raise ValueError("the archive has no founders yet: call found() before claim()")
        if answer is None:
            return None
        index, attempt, epoch = answer
        return Ticket(index, attempt, IslandRef(index % self._settings.num_islands, epoch))

    def sample_parents(self, ticket: Ticket, uniforms: Sequence[float]) -> Parents:
        settings = self._settings
        check_uniforms(uniforms, 2 * (settings.num_parents + settings.num_inspirations))
        ids = self._script("sample", ticket.index, msgpack.packb([float(uniform) for uniform in uniforms]))
        if ids == 0:
            raise _unknown(ticket)
        if ids == 1:
            raise ValueError(f"proposal {ticket.index} was committed without parents: there are none to hand out")
        return arrange(self._candidates(ids), settings.num_parents)

    def renew(self, ticket: Ticket, now_s: float) -> bool:
        answer = self._script("renew", ticket.index, ticket.attempt, repr(now_s))
        if answer is None:
            raise _unknown(ticket)
        return bool(answer)

    def holds(self, program: Program) -> bool:
        return bool(self._commands.call("HEXISTS", self._programs, program.id))

    def commit(self, ticket: Ticket, child: Candidate, uniforms: Sequence[float]) -> Commit:
        check_uniforms(uniforms, self._settings.num_islands)
        if isinstance(child.evaluation, Failed):
            member, result = "", child.evaluation.fault
        else:
            known = entry(child, self._settings.return_scale)
            member, result = _member(known), repr(float(known.score))
        outcome = self._script(
            "commit",
            ticket.index,
            ticket.attempt,
            child.program.id,
            codec.encode_candidate(child),
            member,
            result,
            msgpack.packb([float(uniform) for uniform in uniforms]),
        )
        if outcome is None:
            raise _unknown(ticket)
        return Commit(outcome.decode())

    def best(self, count: int) -> list[Candidate]:
        if count < 1:
            return []
        members = self._commands.call("ZRANGE", self._ranking, 0, count - 1)
        return self._candidates([member.split(b":")[1] for member in members])

    def candidate(self, program_id: str) -> Candidate | None:
        record = self._commands.call("HGET", self._programs, program_id)
        return None if record is None else codec.decode_candidate(f"{self._programs}[{program_id}]", record)

    def progress(self) -> Progress:
        rankings = self._keys[7::3]
        sizes = [("ZCARD", ranking) for ranking in rankings]
        tops = [("ZRANGE", ranking, 0, 0, "WITHSCORES") for ranking in rankings]
        answers = self._commands.transaction(("HGETALL", self._state), *sizes, *tops)
        state = {key.decode(): value for key, value in zip(answers[0][::2], answers[0][1::2], strict=True)}
        islands = len(rankings)
        return Progress(
            proposals=self._settings.proposals,
            handed_out=int(state.get("next", 0)),
            committed=int(state.get("committed", 0)),
            outcomes=_counts(state, "outcome:"),
            failures=_counts(state, "failure:"),
            islands=tuple(
                _status(index, state, answers[1 + index], answers[1 + islands + index]) for index in range(islands)
            ),
        )

    def operations(self) -> list[tuple[str, int]]:
        operations = (item.decode().split(":") for item in self._commands.call("LRANGE", self._operations, 0, -1))
        return [(name, int(index)) for name, index in operations]

    def _script(self, name: str, *arguments: bytes | str | int) -> Any:
        return self._commands.script(name, self._keys, (self._packed_settings, *arguments))

    def _candidates(self, ids: Sequence[bytes]) -> list[Candidate]:
        if not ids:
            return []
        records = self._commands.call("HMGET", self._programs, *ids)
        found = []
        for program_id, record in zip(ids, records, strict=True):
            key = f"{self._programs}[{program_id.decode()}]"
            if record is None:
                raise CorruptRecordError(f"the store's record {key} is missing: restore the store from a copy")
            found.append(codec.decode_candidate(key, record))
        return found


def _member(known: Entry) -> str:
    return f"{known.length:010d}:{known.id}:{known.signature}"


def _unknown(ticket: Ticket) -> ValueError:
    return ValueError(f"proposal {ticket.index} was never handed out by this archive")


def _counts(state: Mapping[str, bytes], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): int(count) for name, count in state.items() if name.startswith(prefix)}


def _status(index: int, state: Mapping[str, bytes], programs: int, top: Sequence[Any]) -> IslandStatus:
    ref = IslandRef(index, int(state.get(f"epoch:{index}", 0)))
    if not programs:
        return IslandStatus(ref, None, None, 0)
    return IslandStatus(ref, -float(top[1]), float(state[f"total:{index}"]) / programs, programs)
