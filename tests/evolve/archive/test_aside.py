"""Work aside from the event loop: the loop goes on, answers and errors reach their callers, nothing begun is lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from evolve.archive.aside import THREADS, Aside, Threads, at_once


@pytest.mark.parametrize("aside", [at_once, Threads()], ids=["at_once", "threads"])
async def test_answers_and_errors_reach_their_callers(aside: Aside) -> None:
    assert await asyncio.gather(*(aside(pow, n, 2) for n in range(300))) == [n * n for n in range(300)]
    assert await aside(int, "ff", base=16) == 255
    with pytest.raises(ZeroDivisionError):
        await aside(divmod, 1, 0)
    assert await aside(str, 1) == "1"


async def test_the_loop_goes_on_while_work_waits() -> None:
    aside, gate = Threads(), threading.Event()
    waiting = asyncio.create_task(aside(gate.wait, 60))
    assert await aside(abs, -1) == 1  # another thread
    gate.set()  # by the loop that the work would have stopped
    assert await waiting
    aside.close()


async def test_work_is_done_even_if_its_caller_is_cancelled() -> None:
    aside, gate, done = Threads(), threading.Event(), list[int]()
    blocking = [asyncio.create_task(aside(gate.wait, 60)) for _ in range(THREADS)]
    callers = [asyncio.create_task(aside(done.append, n)) for n in range(5)]
    await asyncio.sleep(0)
    for caller in callers:
        caller.cancel()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert not done
    gate.set()
    await asyncio.gather(*blocking)
    aside.close()
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_closing_waits_for_what_outlives_its_loop() -> None:
    aside, gate, done, before = Threads(), threading.Event(), list[bool](), threading.active_count()

    async def leave() -> None:
        work = asyncio.create_task(aside(lambda: done.append(gate.wait(60))))
        await asyncio.sleep(0)
        work.cancel()

    asyncio.run(leave())
    gate.set()
    aside.close()
    assert done == [True]
    assert threading.active_count() == before
