"""Actors that die are replaced for as long as a head may be away, however often that fails."""

import asyncio
import time

import pytest

from workers import deaths
from workers.deaths import Deaths


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.pauses_s: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    async def sleep(self, pause_s: float) -> None:
        self.pauses_s.append(pause_s)
        self.now_s += pause_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_tries_go_on_while_a_head_may_come_back(clock: Clock) -> None:
    row, begun_s = Deaths(4), clock.now_s
    while not row.too_many:
        await row.another()
    assert deaths.PATIENCE_S <= clock.now_s - begun_s <= deaths.PATIENCE_S + 2 * deaths.LONGEST_PAUSE_S
    assert clock.pauses_s == sorted(clock.pauses_s)
    assert clock.pauses_s[-1] == deaths.LONGEST_PAUSE_S
    assert str(row).startswith(f"{len(clock.pauses_s)} times in a row within 24")


async def test_few_deaths_are_not_too_many_however_far_apart(clock: Clock) -> None:
    row = Deaths(4)
    for _ in range(3):
        await row.another()
        clock.now_s += deaths.PATIENCE_S
    assert not row.too_many
    await row.another()
    assert row.too_many


async def test_a_row_begins_anew_after_work_that_lasted(clock: Clock) -> None:
    row = Deaths(1)
    await row.another()
    clock.now_s += deaths.PATIENCE_S
    row.forget()
    await row.another()
    assert not row.too_many
