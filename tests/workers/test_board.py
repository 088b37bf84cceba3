"""The live board in a real browser: what it shows, that it cannot be written to or scripted, and that keys suffice."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evolve.archive.redis import RedisStore, open_store
from evolve.archive.server import stop_server
from evolve.empirical_game import EmpiricalGame
from evolve.llm.budget import Budget, Usage
from evolve.policy_pool import PolicyPool, PooledPolicy
from evolve.program import Program
from evolve.psro import CHECKPOINT, IterationRecord, PsroState
from games.registry import make_game
from tests.workers.browser import Page, chromium
from workers import catalog
from workers.board.server import Boards, BoardServer
from workers.board.view import POINTS, Course
from workers.catalog import KnownRun
from workers.errors import RunFailedError
from workers.experiment import Experiment
from workers.run_directory import RunDirectory
from workers.status import BestProgram, Island, Status

HOSTILE = """class Policy:  # </pre></script><script>document.title = "taken"</script>
    # <img src=x onerror="document.title='taken'">
    '''"><b id=injected>bold</b>'''
"""
SEED, WINNER = Program("class Policy: pass\n"), Program(HOSTILE)


def status(now_s: float) -> Status:
    return Status(
        "watched",
        "repeated_rps",
        "csro",
        "alpha_evolve",
        "openai:<b>model</b>",
        phase="searching",
        line="iteration 2: best response to <i>seed</i>",
        iteration=2,
        iterations=4,
        proposals=160,
        committed=40,
        programs_per_s=3.25,
        failures={"timeout": 3, "runtime_error": 12},
        islands=(Island(0, 1, 12.5, -3.0, 20), Island(1, 0, 980.0, 400.25, 20)),
        best=BestProgram(WINNER.id, 980.0, 1.5, HOSTILE),
        spent=Usage(30, 4000, 900, 0.25, 2),
        in_flight=7,
        budget=Budget(llm_calls=60),
        host="here",
        pid=os.getpid(),
        t_s=now_s,
    )


def write(store: RedisStore) -> None:
    spec = make_game("repeated_rps").spec
    pool = PolicyPool((PooledPolicy(SEED, 0, "seed"), PooledPolicy(WINNER, 1, "br-1")))
    best = {"id": WINNER.id, "mean_return": 977.5, "stderr": 2.5, "matches": 16}
    solved = {"iteration": 1, "meta_strategy": [{SEED.id: 0.25, WINNER.id: 0.75}]}
    game = EmpiricalGame.of(spec, [pool.ids])
    record = IterationRecord(1, 0, {SEED.id: 1.0}, best, 160, {}, 160, 9.0)
    store.save(CHECKPOINT, PsroState((pool,), game, (record,), 1, (solved,)).to_record())
    lineage = [{"id": WINNER.id, "score": 999.0, "stderr": 0.0, "source": HOSTILE}]
    store.log({"type": "promotion", "iteration": 1, "id": WINNER.id, "lineage": lineage})
    for committed in range(0, 41, 4):
        for island, slope in ((0, 0.3), (1, 24.0)):
            event = {"type": "island", "iteration": 2, "island": island, "committed": committed}
            best = slope * committed
            store.log({**event, "best": best, "mean": best / 2, "epoch": 0, "programs": committed})
    store.save("status", status(time.time()).to_record())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KnownRun]:
    monkeypatch.delenv("CSRO_REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    directory, _ = RunDirectory.create(replace(Experiment(), run_id="watched"), "watched", None)
    store = open_store("watched", directory.store)
    write(store)
    yield KnownRun("watched", directory.path.absolute(), False)
    store.close()
    stop_server(directory.store)


@pytest.fixture
def served(run: KnownRun) -> Iterator[BoardServer]:
    server = BoardServer(Boards.of(run), port=0)
    server.start()
    yield server
    server.stop()


def get(url: str, **headers: str) -> Any:
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20)


async def until(page: Page, expression: str) -> None:
    for _ in range(400):
        if await page.evaluate(expression):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never true in the page: {expression}")


async def text(page: Page, selector: str) -> str:
    return str(await page.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))


async def test_the_page_shows_all_there_is(served: BoardServer, tmp_path: Path) -> None:
    async with chromium(tmp_path / "profile") as page:
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
            await page.open(served.url, width, scheme=scheme)
            await until(page, "document.querySelectorAll('#course polyline').length === 4")
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
            if folder := os.environ.get("CSRO_SCREENSHOTS"):
                await page.screenshot(Path(folder) / f"board_{width}_{scheme}.png")
        shown = await text(page, "main")
        figures = ("2 of 4", "40 of 160", "+980.00 ± 1.50", "openai:<b>model</b>", "timeout", "12", "0.750", "50.0 %")
        for part in figures:
            assert part in shown, part
        assert "+977.50 ± 2.50 on fresh seeds" in await text(page, "#winners summary")
        assert await text(page, "#winners pre") == HOSTILE
        assert await text(page, "#line") == "iteration 2: best response to <i>seed</i>"
        assert (await text(page, "#state")).startswith("searching")
        assert await page.evaluate("document.title") == "csro board"
        assert await page.evaluate("document.getElementById('injected')") is None
        assert page.messages == []
        assert all(url.startswith(served.url) or url == "about:blank" for url in page.requests)


async def test_it_is_worked_by_keys_alone(served: BoardServer, tmp_path: Path) -> None:
    async with chromium(tmp_path / "profile") as page:
        await page.open(served.url, 1280)
        await until(page, "document.querySelectorAll('#winners summary').length === 1")
        reached = []
        for _ in range(4):
            await page.press("Tab")
            reached.append(await page.evaluate("document.activeElement.tagName"))
            if reached[-1] == "SUMMARY":
                await page.press("Enter")
        assert reached[:3] == ["SELECT", "SUMMARY", "PRE"], "what is not reached by Tab cannot be read"
        assert await page.evaluate("document.querySelector('#winners details').open")
        await asyncio.sleep(2.5)
        assert await page.evaluate("document.querySelector('#winners details').open"), "it closed at the next refresh"


async def test_a_driver_that_died_is_shown_as_gone(run: KnownRun, served: BoardServer, tmp_path: Path) -> None:
    with run.live() as store:
        assert store is not None
        store.save("status", status(time.time() - 60).to_record())
    async with chromium(tmp_path / "profile") as page:
        await page.open(served.url, 1280)
        await until(page, "document.getElementById('state').textContent.includes('gone')")
        assert await page.evaluate("document.getElementById('state').className") == "warn"


def test_it_says_what_ray_asks_and_forbids_the_rest(served: BoardServer) -> None:
    assert json.load(get(f"{served.url}/api/health"))["database"] == "ok"
    assert json.load(get(f"{served.url}/api/v1/query?query=vector(1)"))["status"] == "success"
    page = get(f"{served.url}/d/csro/anything?orgId=1&theme=light")
    assert b"board.js" in page.read()
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self' http://127.0.0.1:8265 http://localhost:8265" in policy
    for method in ("POST", "PUT", "DELETE"):
        request = urllib.request.Request(f"{served.url}/live.json", method=method, data=b"{}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        assert refused.value.code == 501
    for path, host, code in (("/live.json", "evil.example", 403), ("/../server.py", "localhost", 404)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(served.url + path, Host=host)
        assert refused.value.code == code


def test_metrics_have_one_series_per_run_and_island(served: BoardServer) -> None:
    lines = get(f"{served.url}/metrics").read().decode().splitlines()
    assert 'csro_island_best_return{island="1",run="watched"} 980.0' in lines
    assert 'csro_programs_failed{kind="timeout",run="watched"} 3.0' in lines
    assert 'csro_budget_share{limit="llm_calls",run="watched"} 0.5' in lines
    assert 'csro_driver_alive{run="watched"} 1.0' in lines
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert not [each for each in series if "iteration=" in each]


def test_a_run_whose_store_is_gone_is_shown_as_it_was_seen(run: KnownRun, served: BoardServer) -> None:
    assert json.load(get(f"{served.url}/live.json"))["run"]["committed"] == 40
    assert run.directory is not None
    stop_server(run.directory / "store")
    assert json.load(get(f"{served.url}/live.json"))["run"]["committed"] == 40


def test_a_taken_port_is_told_in_one_line(served: BoardServer, run: KnownRun) -> None:
    with pytest.raises(RunFailedError, match="choose a --port"):
        BoardServer(Boards.of(run), port=int(served.url.rpartition(":")[2]))


def test_the_course_of_a_long_run_stays_small() -> None:
    course = Course()
    for committed in range(10_000):
        course.add({"iteration": 1, "island": 0, "committed": committed, "best": float(committed), "mean": 0.0})
    points = course.islands[0]
    assert len(points) <= POINTS
    assert points[0] == (0.0, 0.0, 0.0)
    assert points[-1] == (9999.0, 9999.0, 0.0)
    course.add({"iteration": 2, "island": 0, "committed": 0, "best": None, "mean": None})
    assert course.islands == {}


def test_all_known_runs_are_listed(run: KnownRun) -> None:
    assert [known.run_id for known in catalog.known_runs()] == ["watched"]
    found = Boards.named(()).live(None)
    assert found["runs"] == [{"run_id": "watched", "state": "searching"}]
