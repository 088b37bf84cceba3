"""Places at a model are taken, by no more than there are, and by callers that got ready only just before."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.llm.core import NotAskedError
from evolve.llm.places import Places


@dataclass
class Scene:
    """Callers that get ready, call, and look after the answer, each for a number of turns of the event loop."""

    limit: int
    places: Places = field(init=False)
    ready: int = 0
    calling: int = 0
    taken: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.places = Places(self.limit)

    async def caller(self, before: int, during: int, after: int = 0) -> None:
        async with self.places.ready():
            await turns(before)
            self.ready += 1
            async with self.places.call():
                self.ready -= 1
                self.calling += 1
                assert self.calling <= self.limit
                await turns(during)
                self.calling -= 1
            await turns(after)

    async def watch(self, callers: Sequence[asyncio.Task[None]]) -> None:
        while not all(caller.done() for caller in callers):
            self.taken.append(self.calling)
            self.waiting.append(self.ready)
            await asyncio.sleep(0)

    async def play(self, parts: Sequence[tuple[int, int, int]]) -> None:
        callers = [asyncio.create_task(self.caller(*part)) for part in parts]
        await self.watch(callers)
        await asyncio.gather(*callers)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@settings(max_examples=50, deadline=None)
@given(
    parts=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3)), max_size=30),
    limit=st.integers(1, 5),
)
def test_no_more_calls_than_places_and_all_are_made(parts: list[tuple[int, int, int]], limit: int) -> None:
    scene = Scene(limit)
    asyncio.run(asyncio.wait_for(scene.play(parts), 30))
    assert scene.calling == scene.ready == 0


async def test_places_stay_taken_though_it_takes_as_long_as_a_call_to_get_ready() -> None:
    scene = Scene(20)
    await scene.play([(20, 40, 5)] * 800)
    assert fmean(scene.taken[300:-300]) > 0.9 * 20  # 20 that take no look ahead would call 40 turns of 65


async def test_nobody_waits_long_where_it_takes_nothing_to_get_ready() -> None:
    scene, rng = Scene(20), random.Random(1)
    await scene.play([(0, rng.randrange(100, 300), 0) for _ in range(600)])
    assert fmean(scene.taken[200:-300]) > 0.95 * 20
    assert fmean(scene.waiting[200:-300]) < 2


async def test_nobody_gets_ready_ahead_before_the_places_are_first_taken() -> None:
    scene = Scene(20)
    callers = [asyncio.create_task(scene.caller(1, 10_000)) for _ in range(100)]
    await turns(100)
    assert (scene.calling, scene.ready) == (20, 0)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)


async def test_nobody_gets_ready_ahead_of_a_single_place() -> None:
    scene = Scene(1)
    await scene.play([(3, 5, 2)] * 20)
    assert max(scene.waiting) <= 1 and not any(w and t for w, t in zip(scene.waiting, scene.taken, strict=True))


async def test_closing_turns_away_who_waits_and_leaves_alone_who_calls() -> None:
    places, go, made = Places(2), asyncio.Event(), []

    async def call(number: int) -> None:
        async with places.call():
            await go.wait()
            made.append(number)

    calls = [asyncio.create_task(call(number)) for number in range(5)]
    await turns(3)
    places.close()
    go.set()
    outcomes = await asyncio.gather(*calls, call(5), return_exceptions=True)
    assert made == [0, 1]
    assert [type(outcome) for outcome in outcomes[2:]] == [NotAskedError] * 4


@pytest.mark.parametrize("is_let_in", [False, True])
async def test_who_is_called_off_while_it_waits_holds_no_place(is_let_in: bool) -> None:
    places, go = Places(1), asyncio.Event()

    async def call() -> None:
        async with places.call():
            await go.wait()

    first, second, third = (asyncio.create_task(call()) for _ in range(3))
    await turns(3)
    if is_let_in:  # in the turn in which it is called off
        first.cancel()
        await turns(1)
    second.cancel()
    go.set()
    await asyncio.wait_for(third, 5)
    await asyncio.gather(first, second, return_exceptions=True)
    assert second.cancelled()
