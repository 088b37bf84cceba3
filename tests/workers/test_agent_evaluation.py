"""``csro evaluate llm`` and the table's row of it, through the real OpenAI SDK against a server on this machine."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evolve.llm.pricing import price_of
from evolve.population_metrics import population_metrics
from games.core import Move, Observation, PolicyFactory
from games.match import play_match
from games.repeated_rps import RepeatedRPS
from tests.evolve.llm.loopback import Fault, Loopback, always
from tests.workers.runs import csro, finished, started, wait_until
from workers.cli import main
from workers.scorer import matches_against
from workers.table.core import CellResult
from workers.table.models import by_model
from workers.table.registry import make_table
from workers.table.spending import spending

ROUNDS = 3
BOTS = 43
CALLS = BOTS * (ROUNDS - 1)
"""Of one match against each bot."""

CANARY_KEY = "sk-canary-0123456789abcdef"
MODEL = "openai:gpt-4.1"
GAME = RepeatedRPS(ROUNDS)

Csro = Callable[..., tuple[int, dict[str, Any], str]]


class Fixed:
    """Uniform in the first round, then always the same: what the agent amounts to when the model never changes."""

    def __init__(self, then: Move) -> None:
        self._then = then

    def __call__(self, player: int, seed: int) -> Fixed:
        return self

    def act(self, observation: Observation) -> Move:
        return self._then if observation["round"] else [1 / 3] * 3


def returns_of(policy: PolicyFactory, matches: int, seed: int = 0) -> dict[str, list[float]]:
    """By bot, seats alternating, with the seeds of ``csro evaluate``."""
    found: dict[str, list[float]] = {}
    for name, bot in GAME.reference_population().items():
        seeds = matches_against(seed, name, matches)
        found[name] = [
            float(play_match(GAME, [bot, policy] if k % 2 else [policy, bot], s)[k % 2]) for k, s in enumerate(seeds)
        ]
    return found


def words(out: Path, *more: str, model: str = MODEL, rounds: int = ROUNDS) -> list[str]:
    sets = [f"llm.model={model}", f"game.num_rounds={rounds}"]
    options = [word for setting in sets for word in ("--set", setting)]
    return ["evaluate", "llm", "--game", "repeated_rps", "--out", str(out), "--json", *options, *more]


def environment(server: Loopback) -> dict[str, str]:
    return {"OPENAI_BASE_URL": server.openai_url, "OPENAI_API_KEY": CANARY_KEY}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Csro:
    """A command line in this process, asked of ``server``: exit status, what it printed as JSON, and stderr."""

    def call(server: Loopback, *line: str) -> tuple[int, dict[str, Any], str]:
        for name, value in environment(server).items():
            monkeypatch.setenv(name, value)
        status = main(line)
        said = capsys.readouterr()
        return status, json.loads(said.out or "{}"), said.err

    return call


def no_key_in(out: Path) -> None:
    files = [path for path in out.rglob("*") if path.is_file()]
    assert any("store" in path.parts for path in files)
    for path in files:
        body = path.read_bytes()
        body = gzip.decompress(body) if path.suffix == ".gz" else body
        assert CANARY_KEY.encode() not in body, f"the key is in {path}"


def test_a_model_that_always_says_rock_is_a_player_that_always_plays_paper(run: Csro, tmp_path: Path) -> None:
    out = tmp_path / "agent"
    expected = population_metrics(returns_of(Fixed(1), 2)).to_json()
    line = words(out, "--matches", "2", "--set", "llm.temperature=0")
    with Loopback(always("R")) as server:
        status, found, _ = run(server, *line)
        assert status == 0
        assert {key: found[key] for key in expected} == expected
        assert found["by_opponent"]["rockbot"]["mean"] >= ROUNDS - 2
        assert (found["answers"], found["unreadable_answers"]) == (2 * CALLS, 0)
        assert len(server.requests) == found["budget"]["llm_calls"] == 2 * CALLS
        assert (found["budget"]["tokens_in"], found["budget"]["tokens_out"]) == server.tokens
        price = price_of(MODEL)
        assert price is not None
        # Each call is booked in whole micro-dollars.
        assert found["budget"]["usd"] == pytest.approx(price.usd(*server.tokens), abs=2 * CALLS * 5e-7)
        asked = server.requests[0]
        assert (asked.model, asked.system) == ("gpt-4.1", "")
        assert asked.parameters == {"max_completion_tokens": 16, "temperature": 0.0}
        assert json.loads((out / "evaluation.json").read_text()) == found
        # Again, and with fewer matches: nothing is asked, nothing is paid.
        assert run(server, *line)[:2] == (0, found)
        _, fewer, _ = run(server, *words(out, "--matches", "1", "--set", "llm.temperature=0"))
        assert len(server.requests) == 2 * CALLS
    assert {bot: entry["mean"] for bot, entry in fewer["by_opponent"].items()} == {
        bot: values[0] for bot, values in returns_of(Fixed(1), 1).items()
    }
    no_key_in(out)


def test_unreadable_answers_are_played_at_random_and_counted(run: Csro, tmp_path: Path) -> None:
    expected = population_metrics(returns_of(Fixed([1 / 3] * 3), 1, seed=5)).to_json()
    with Loopback(always("I cannot tell.")) as server:
        _, found, _ = run(server, *words(tmp_path / "agent", "--matches", "1", "--seed", "5"))
    assert (found["answers"], found["unreadable_answers"]) == (CALLS, CALLS)
    assert {key: found[key] for key in expected} == expected


def test_the_recording_plays_the_same_matches_without_a_model(run: Csro, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with Loopback(always("S")) as server:
        _, found, _ = run(server, *words(first, "--matches", "1"))
        status, again, _ = run(server, *words(second, "--matches", "1", model=f"replay:{first}"))
        assert len(server.requests) == CALLS
    assert status == 0
    assert {**again, "model": MODEL} == found


def test_a_budget_that_ends_tells_what_is_done_and_a_larger_one_goes_on(run: Csro, tmp_path: Path) -> None:
    out = tmp_path / "agent"
    with Loopback(always("P")) as server:
        status, printed, said = run(server, *words(out, "--matches", "1", "--calls", "21"))
        assert (status, printed, len(server.requests)) == (1, {}, 21)
        line = said.strip().splitlines()[-1]
        assert line.startswith("csro: budget.llm_calls=21 is spent; ")
        done = int(line.split("; ")[1].split()[0])
        # Of 21 calls up to one for each of the eight under way belongs to a match that is not finished.
        assert (21 - 8) // 2 <= done <= 10
        assert f"{done} of {BOTS} matches are finished" in line and f"--out {out} and a larger budget goes on" in line
        status, found, _ = run(server, *words(out, "--matches", "1", "--calls", str(CALLS)))
        assert (status, len(server.requests)) == (0, CALLS)
    assert found["budget"]["llm_calls"] == CALLS
    assert found["pop_return"] == population_metrics(returns_of(Fixed(2), 1)).pop_return.value


def test_a_provider_that_refuses_ends_it_in_one_line(run: Csro, tmp_path: Path) -> None:
    out = tmp_path / "agent"
    with Loopback(always("R"), [*[None] * 16, Fault.BAD_KEY]) as server:
        status, _, said = run(server, *words(out, "--matches", "1"))
        assert status == 1
        line = said.strip().splitlines()[-1]
        assert "HTTP 401" in line and f" of {BOTS} matches are finished, and nothing is lost" in line
        assert CANARY_KEY not in said
        assert len(server.requests) <= 17 + 7, "those under way, and no others"
        status, found, _ = run(server, *words(out, "--matches", "1"))
    assert (status, found["budget"]["llm_calls"], len(server.billed)) == (0, CALLS, CALLS)


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        (["--set", "llm.model=offline"], "--set llm.model=openai:NAME"),
        ([], "--set llm.model=openai:NAME"),
        (["--set", "llm.model=openai:x"], "OPENAI_API_KEY"),
        (["--set", "llm.model=opnai:x"], "did you mean openai"),
        (["--set", "llm.model=openai:x", "--game", "repeated_leduc"], "cannot play repeated_leduc"),
        (["--set", "psro.iterations=3"], "evaluate does not read it"),
        (["--set", "llm.backlog=3"], "evaluate does not read it"),
        (["--calls", "3", "--set", "budget.llm_calls=3"], "give one of them"),
        (["--calls", "0"], "at least 1"),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing(
    more: list[str], hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "llm", "--game", "repeated_rps", *more]) == 2
    said = capsys.readouterr()
    assert said.out == "" and hint in said.err and len(said.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [["--calls", "3"], ["--out", "x"]])
def test_other_targets_take_no_calls_and_no_directory(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "bot:randbot", "--game", "repeated_rps", *option]) == 2
    assert f"{option[0]} is for the target llm" in capsys.readouterr().err


def test_a_directory_belongs_to_one_evaluation(run: Csro, tmp_path: Path) -> None:
    out = tmp_path / "agent"
    with Loopback(always("R")) as server:
        run(server, *words(out, "--matches", "1"))
        for change in (["--seed", "1"], ["--set", "llm.temperature=0.5"], ["--set", "llm.max_output_tokens=9"]):
            status, _, said = run(server, *words(out, "--matches", "1", *change))
            assert status == 2 and "repeat that, or choose another --out" in said
        status, _, said = run(server, *words(out, "--matches", "1", rounds=4))
        assert status == 2 and "game={'name': 'repeated_rps', 'num_rounds': 3}" in said
        assert len(server.requests) == CALLS


def test_a_run_is_no_evaluation(run: Csro, tmp_path: Path) -> None:
    (tmp_path / "experiment.toml").write_text('run_id = "demo-20260101-000000-abcd"\n[game]\nname = "repeated_rps"\n')
    with Loopback(always("R")) as server:
        status, _, said = run(server, *words(tmp_path))
    assert status == 2 and "holds a run, not an evaluation" in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_evaluation_that_ends_early_goes_on_and_pays_nothing_twice(tmp_path: Path, number: signal.Signals) -> None:
    out, rounds = tmp_path / "agent", 8
    calls = BOTS * (rounds - 1)
    line = words(out, "--matches", "1", rounds=rounds)
    with Loopback(always("R"), latency_s=0.05) as server:
        with started(*line, env=environment(server)) as process:
            wait_until(lambda: len(server.requests) > calls // 3, "a third of the calls")
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        assert process.returncode != 0
        before = len(server.requests)
        assert before < calls, "it was over before it was ended"
        found = json.loads(finished(csro(*line, env=environment(server))).stdout)
        again = len(server.requests) - calls
    # A kill loses the answers that had not arrived; Ctrl-C waits for them.
    assert 0 <= again <= (8 if number == signal.SIGKILL else 0)
    if number == signal.SIGINT:
        assert "the same command goes on" in said
    assert found["budget"]["llm_calls"] == calls
    no_key_in(out)


def test_the_table_has_a_row_of_its_own_model(run: Csro, tmp_path: Path) -> None:
    table = make_table("rrps")
    row = next(row for row in table.rows if row.name == "llm_agent")
    assert not row.shown, "a match costs a thousand calls"
    sets = ["--set", f"llm.model={MODEL}", "--set", f"game.num_rounds={ROUNDS}", "--calls", str(CALLS)]
    line = ["table", "rrps", "--rows", "llm_agent", "--seeds", "7", "--matches", "1", "--out", str(tmp_path), *sets]
    with Loopback(always("R")) as server:
        status, printed, _ = run(server, *line, "--json")
        assert status == 0
        assert len(server.requests) == CALLS
        (tmp_path / "cells" / "llm_agent" / "seed-7" / "cell.json").unlink()  # as if it had been killed just before
        assert run(server, *line, "--json")[1] == printed
        assert len(server.requests) == CALLS
    cell = CellResult.load(tmp_path / "cells" / "llm_agent" / "seed-7" / "cell.json")
    expected = population_metrics(returns_of(Fixed(1), 1, seed=7)).pop_return.value
    assert (cell.figures["pop_return"], cell.spent.llm_calls) == (expected, CALLS)
    (entry,) = printed["rows"]
    assert (entry["name"], entry["figures"]["PopReturn"]["values"]) == ("llm_agent", [expected])
    assert entry["spent"]["llm_calls"] == CALLS


def test_a_cell_that_failed_is_counted_and_one_out_of_budget_goes_on_by_itself(run: Csro, tmp_path: Path) -> None:
    sets = ["--set", f"llm.model={MODEL}", "--set", f"game.num_rounds={ROUNDS}", "--calls", "40", "--usd", "1"]
    line = ["table", "rrps", "--rows", "llm_agent", "--seeds", "1", "--matches", "1", "--out", str(tmp_path), *sets]
    cell = tmp_path / "cells" / "llm_agent" / "seed-1"
    with Loopback(always("R"), [*[None] * 10, Fault.BAD_KEY]) as server:
        status, _, said = run(server, *line, "--json")
        assert status == 1 and "HTTP 401" in said
        assert spending(cell).llm_calls == len(server.billed) >= 10
        status, printed, _ = run(server, *line, "--json")
        (missing,) = printed["rows"][0]["missing"]
        assert status == 1 and f"--out {cell} and a larger budget goes on" in missing["reason"]
        assert spending(cell).llm_calls == len(server.billed) == 40
        assert run(server, *words(cell, "--matches", "1", "--seed", "1", "--calls", str(CALLS)))[0] == 0
        status, printed, _ = run(server, *line, "--json")
        assert (status, printed["rows"][0]["missing"], len(server.billed)) == (0, [], CALLS)


def test_the_row_is_missing_without_a_model_and_the_other_rows_stand(run: Csro, tmp_path: Path) -> None:
    sets = ["--set", "game.num_rounds=3", "--matches", "2", "--seeds", "1", "--out", str(tmp_path)]
    with Loopback(always("R")) as server:
        status, _, said = run(server, "table", "rrps", "--rows", "llm_agent", "player/randbot", *sets, "--json")
    assert status == 1 and "offline proposer cannot tell" in said
    assert [path.name for path in (tmp_path / "cells").glob("*/*/cell.json")] == ["cell.json"]


def test_the_row_under_several_models() -> None:
    table = make_table("rrps")
    rows = [row for row in table.rows if row.name == "llm_agent"]
    _, spread = by_model(table, rows, ["openai:a", "openai:b"])
    assert [row.name for row in spread] == ["llm_agent@openai:a", "llm_agent@openai:b"]
    assert [row.head[-1] for row in spread] == ["openai:a", "openai:b"]
