"""A task's archive in Redis: each step that touches several keys is one Lua script beside this file.

Work in flight is a stream with one consumer group. A claim delivers an entry, or takes over one that lay idle for the
length of a lease; a commit is fenced by the entry being pending in its caller's delivery, and acknowledges it in the
script that does its effects. So effects happen exactly once, however often a call is repeated, and leases are measured
by the server's clock alone, whatever those of the machines say.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, cast

import msgpack

from evolve.archive import codec
from evolve.archive.candidates import Candidates
from evolve.archive.commands import Commands, Keys
from evolve.archive.core import (
    NO_FINDINGS,
    ArchiveSettings,
    Commit,
    EventOf,
    Findings,
    Parents,
    Ticket,
)
from evolve.archive.island import Entry, entry, founding
from evolve.archive.progress import Effort, IslandStatus, Progress, Yield
from evolve.archive.sampling import Draw, check_uniforms, reference, resolve, uniforms_needed
from evolve.candidate import Candidate, IslandRef, Operator
from evolve.scoring import Evaluation, Failed, Scored

_SHARED = (
    "state",
    "programs",
    "ranking",
    "work",
    "proposals",
    "operations",
    "index",
    "champions",
    "notes",
)
_EACH = ("ranking", "clusters", "members", "failures", "recent")


class RedisArchive:
    """The archive of one task, opened over a connection; made by ``RedisStore.archive``."""

    def __init__(self, commands: Commands, keys: Keys, task_id: str, settings: ArchiveSettings) -> None:
        self._commands = commands
        name = keys("settings", task_id)
        commands.call("SETNX", name, codec.encode_settings(settings))
        self._settings = codec.decode_settings(name, commands.call("GET", name))
        self._keys = [keys("archive", task_id, part) for part in _SHARED]
        self._keys.append(keys("events"))
        for island in range(self._settings.num_islands):
            self._keys += [keys("archive", task_id, "island", island, part) for part in _EACH]
        self._key = dict(zip(_SHARED, self._keys, strict=False))
        self._state, self._programs, self._ranking = self._keys[:3]
        self._candidates = Candidates(commands, self._programs)
        self._encoded_keys = [key.encode() for key in self._keys]
        self._packed_settings = msgpack.packb(asdict(self._settings))

    @property
    def settings(self) -> ArchiveSettings:
        return self._settings

    def found(self, founders: Sequence[Candidate]) -> None:
        distinct, entries = founding(founders, self._settings)
        scored = {each.id: each for each in entries}
        rows = [
            (i, codec.encode_candidate(c), _member(scored[i]), scored[i].score, _means(c.evaluation), c.behaviour)
            if i in scored
            else (i, codec.encode_candidate(c), "", 0.0, {}, "")
            for i, c in distinct.items()
        ]
        self._script("found", _packed(rows))

    def claim(self, worker: str) -> Ticket | None:
        answer = self._script("claim", f"{worker}:{secrets.token_hex(8)}")
        if answer == 0:
            raise ValueError("the archive has no founders yet: call found() before claim()")
        if answer is None:
            return None
        index, attempt, epoch = answer
        return Ticket(index, attempt, IslandRef(index % self._settings.num_islands, epoch))

    def sample_parents(self, ticket: Ticket, uniforms: Sequence[float]) -> Parents:
        check_uniforms(uniforms, uniforms_needed(self._settings))
        line = self._script("sample", ticket.index, _packed([float(uniform) for uniform in uniforms]))
        if line == 0:
            raise _unknown(ticket)
        if line == 1:
            raise ValueError(f"proposal {ticket.index} was committed without parents: there are none to hand out")
        draw = _read_draw(line.decode())
        programs = dict(zip(draw.references, self._candidates.get(draw.references), strict=True))
        notes = b""
        if draw.notes:  # summaries are never overwritten, so a later look finds the one of that draw
            notes = self._commands.call("HGET", self._key["notes"], f"{ticket.island.index}:{draw.notes}")
        return resolve(draw, notes.decode("utf-8", "surrogatepass"), programs)

    def renew(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        if not tickets:
            return []
        pairs = (number for ticket in tickets for number in (ticket.index, ticket.attempt))
        answers = dict(zip(tickets, self._script("renew", *pairs), strict=True))
        for ticket in (each for each, answer in answers.items() if answer < 0):
            raise _unknown(ticket)
        return [ticket for ticket, answer in answers.items() if answer == 0]

    def expire_leases(self) -> None:
        self._script("expire")

    def seen(self, name: str, as_of: int) -> Candidate | None:
        arrival = self._commands.call("HGET", self._key["index"], f"seen:{name}")
        if arrival is None:
            return None
        before, _, program_id = arrival.decode().partition(":")
        if int(before) >= as_of:
            return None
        moments = self._commands.call("HGET", self._key["index"], f"revised:{program_id}") or b""
        revision = sum(int(moment) < as_of for moment in moments.split())
        return self._candidates.get([reference(program_id, revision)])[0]

    def commit(
        self,
        ticket: Ticket,
        child: Candidate,
        uniforms: Sequence[float],
        findings: Findings = NO_FINDINGS,
        event: EventOf | None = None,
    ) -> Commit:
        check_uniforms(uniforms, 2 * self._settings.num_islands)
        if isinstance(child.evaluation, Failed):
            member, result = "", child.evaluation.fault
        else:
            known = entry(child, self._settings)
            member, result = _member(known), repr(float(known.score))
        outcome = self._script(
            "commit",
            ticket.index,
            ticket.attempt,
            child.program.id,
            codec.encode_candidate(child),
            member,
            result,
            _packed([float(uniform) for uniform in uniforms]),
            _packed(_findings(child, findings)),
            _packed({str(o): codec.encode_record(event(o)) for o in _TAKEN} if event else {}),
        )
        if outcome is None:
            raise _unknown(ticket)
        return Commit(outcome.decode())

    def best(self, count: int, start: int = 0) -> list[Candidate]:
        if count < 1:
            return []
        members = self._commands.call("ZRANGE", self._ranking, start, start + count - 1)
        return self._latest([member.split(b":")[1].decode() for member in members])

    def candidate(self, program_id: str) -> Candidate | None:
        if not self._commands.call("HEXISTS", self._programs, program_id):
            return None
        return self._latest([program_id])[0]

    def _latest(self, ids: Sequence[str]) -> list[Candidate]:
        if not ids:
            return []
        revisions = self._commands.call("HMGET", self._key["index"], *(f"revision:{i}" for i in ids))
        return self._candidates.get([reference(i, int(r or 0)) for i, r in zip(ids, revisions, strict=True)])

    def progress(self) -> Progress:
        rankings = self._keys[len(_SHARED) + 1 :: len(_EACH)]
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
            operators=_yields(state, "operator:"),
            variants=_yields(state, "variant:"),
            effort=Effort(**_counts(state, "effort:")),
            reseeded=int(state.get("reseeded", 0)),
            notes=int(state.get("written", 0)),
            upkeep=_counts(state, "upkeep:"),
        )

    def operations(self) -> list[tuple[str, int]]:
        items = self._commands.call("LRANGE", self._key["operations"], 0, -1)
        operations = (item.decode().split(":") for item in items)
        return [(name, int(index)) for name, index in operations]

    def _script(self, name: str, *arguments: bytes | str | int) -> Any:
        return self._commands.script(name, self._encoded_keys, (self._packed_settings, *arguments))


def _member(known: Entry) -> str:
    return f"{known.length:010d}:{known.id}:{known.signature}"


_TAKEN = [outcome for outcome in Commit if outcome is not Commit.STALE_LEASE]


def _packed(value: object) -> bytes:
    """For a script: Lua's msgpack knows no bin type."""
    return bytes(msgpack.packb(value, use_bin_type=False, unicode_errors="surrogatepass"))


def _means(evaluation: Evaluation) -> dict[str, float]:
    if not isinstance(evaluation, Scored):
        return {}
    return {name: float(result.mean) for name, result in evaluation.by_opponent.items()}


def _findings(child: Candidate, findings: Findings) -> dict[str, object]:
    """What ``commit.lua`` reads of them."""
    plain: dict[str, object] = {
        "operator": child.operator,
        "improved": int(findings.improved),
        "repairable": int(isinstance(child.evaluation, Failed) and child.evaluation.is_repairable),
        "behaviour": child.behaviour,
        "means": _means(child.evaluation),
        "effort": {name: getattr(findings, name) for name in ("played", "saved_by_racing", "saved_by_novelty")},
        "notes": findings.notes,
    }
    if findings.elite is not None and findings.revised is not None:
        revised = findings.revised if isinstance(findings.revised, Scored) else None
        plain["elite"] = {
            "id": findings.elite.candidate.program.id,
            "revision": findings.elite.revision,
            "record": codec.encode_candidate(replace(findings.elite.candidate, evaluation=revised)) if revised else "",
            "score": float(revised.mean_return) if revised else 0.0,
            "means": _means(findings.revised),
        }
    return plain


def _read_draw(line: str) -> Draw:
    operator, variant, as_of, notes, elite, *lists = line.split("|")
    parents, inspirations, recent = (tuple(filter(None, each.split(","))) for each in lists)
    return Draw(cast(Operator, operator), variant, int(as_of), int(notes), elite, parents, inspirations, recent)


def _unknown(ticket: Ticket) -> ValueError:
    return ValueError(f"proposal {ticket.index} was never handed out by this archive")


def _counts(state: Mapping[str, bytes], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): int(count) for name, count in state.items() if name.startswith(prefix)}


def _yields(state: Mapping[str, bytes], prefix: str) -> dict[str, Yield]:
    made, scored, improved = (_counts(state, f"{name}:{prefix}") for name in ("made", "scored", "improved"))
    return {kind: Yield(count, scored[kind], improved[kind]) for kind, count in made.items()}


def _status(index: int, state: Mapping[str, bytes], programs: int, top: Sequence[Any]) -> IslandStatus:
    ref = IslandRef(index, int(state.get(f"epoch:{index}", 0)))
    if not programs:
        return IslandStatus(ref, None, None, 0)
    stalled = int(state.get(f"stalled:{index}", 0))
    return IslandStatus(ref, -float(top[1]), float(state[f"total:{index}"]) / programs, programs, stalled)
