"""The stream of work in flight, seen from the server: an entry for each proposal handed out and not committed, held by
one consumer, and nothing left of it afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest
from archive_builders import HALVES, claimed, reclaimed, scored

from evolve.archive.core import ArchiveSettings, Commit
from evolve.archive.redis import RedisStore
from evolve.archive.redis_archive import RedisArchive

SETTINGS = ArchiveSettings(num_islands=2, proposals=6, lease_s=1e6)


@pytest.fixture
def archive(redis_store: RedisStore) -> RedisArchive:
    archive = redis_store.archive("task", SETTINGS)
    archive.found([scored("seed", 0.0)])
    return archive


@pytest.fixture
def ask(redis_store: RedisStore) -> Callable[..., Any]:
    key = f"{{csro:{redis_store.run_id}}}:archive:task:work"
    return lambda name, *words: redis_store.connection.call(*name.split(), key, *words)


def test_it_holds_what_is_in_flight_and_nothing_else(archive: RedisArchive, ask: Callable[..., Any]) -> None:
    tickets = [claimed(archive, f"worker-{i}") for i in range(3)]
    assert (ask("XLEN"), ask("XPENDING", "evolvers")[0]) == (3, 3)
    for number, ticket in enumerate(tickets):
        assert archive.commit(ticket, scored(f"c{number}", 1.0), HALVES) is Commit.ADDED
    assert (ask("XLEN"), ask("XPENDING", "evolvers")[0]) == (0, 0)
    assert ask("XINFO CONSUMERS", "evolvers") == []


def test_who_takes_over_is_its_only_consumer(archive: RedisArchive, ask: Callable[..., Any]) -> None:
    stale = claimed(archive, "lost")
    holder = reclaimed(archive)
    [[entry, consumer, _, deliveries]] = ask("XPENDING", "evolvers", "-", "+", 10)
    assert (entry, consumer.partition(b":")[0], deliveries) == (b"1-0", b"heir", holder.attempt)
    assert len(ask("XINFO CONSUMERS", "evolvers")) == 1
    assert archive.commit(stale, scored("late", 1.0), HALVES) is Commit.STALE_LEASE
    assert ask("XPENDING", "evolvers")[0] == 1, "the late commit acknowledged another's work"


def test_a_claim_whose_answer_was_lost_is_repeated_without_a_second_effect(
    archive: RedisArchive, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "same")
    first = claimed(archive)
    assert claimed(archive) == first
    assert (ask("XLEN"), archive.progress().handed_out) == (1, 1)
    archive.expire_leases()
    assert claimed(archive) == first, "its own expired lease is still its own"


def test_a_renewal_begins_the_lease_anew_and_is_no_new_attempt(archive: RedisArchive, ask: Callable[..., Any]) -> None:
    ticket = claimed(archive)
    archive.expire_leases()
    assert ask("XPENDING", "evolvers", "-", "+", 10)[0][2] >= 1e9
    assert archive.renew([ticket]) == []
    [[_, _, idle_ms, deliveries]] = ask("XPENDING", "evolvers", "-", "+", 10)
    assert (idle_ms < 1e9, deliveries) == (True, 1)
