"""``csro run`` with method pibr as a user starts it: each task and variant, the table of starts, replay and resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evolve.llm.core import Prompt
from evolve.llm.offline import OfflineLLM, read_prompt
from games.registry import make_game
from tests.workers.runs import csro, finished, started, summary, wait_until
from workers.settings import SettingsError, load_experiment, preset_names
from workers.table.core import Request
from workers.table.pibr import PibrPreset
from workers.table.registry import make_table

TASKS = ("vanilla", "climbing", "penalty", "foraging", "program_pd")
SMALL = (
    "pibr.iterations=2",
    "pibr.starts=1",
    "pibr.welfare_matches=4",
    "oracle.steps=2",
    "oracle.matches=2",
    "oracle.fresh_matches=2",
    "evaluation.matches=4",
    "workers.scorers=1",
)


def words(preset: str, out: Path, *overrides: str) -> list[str]:
    return ["run", preset, "--out", str(out), *(w for o in (*SMALL, *overrides) for w in ("--set", o))]


def ran(out: Path, preset: str, *overrides: str) -> dict[str, Any]:
    finished(csro(*words(preset, out, *overrides)))
    return summary(out)


def identical(out: Path) -> bool:
    return bool(json.loads(finished(csro("replay", str(out), "--json")).stdout)["identical"])


def commits(out: Path) -> list[dict[str, Any]]:
    return [e for e in map(json.loads, (out / "events.jsonl").open()) if e["type"] == "commit"]


@pytest.mark.parametrize("task", TASKS)
def test_there_is_a_preset_of_each_task(task: str) -> None:
    assert f"pibr_{task}" in preset_names()
    experiment = load_experiment(f"pibr_{task}")
    assert (experiment.method, experiment.oracle.kind, experiment.llm.model) == ("pibr", "textual_gradient", "offline")
    if task in ("vanilla", "climbing", "penalty"):
        assert (experiment.pibr.starts, experiment.pibr.initial) == (9, "pure")


def test_a_matrix_game_from_pure_starts(tmp_path: Path) -> None:
    out = tmp_path / "run"
    found = ran(out, "pibr_penalty", "pibr.starts=2", "oracle.steps=4", "pibr.order=simultaneous")
    final = found["final"]
    assert set(final["profile"]) == {"0", "1"} and final["exact"] is True
    assert final["social_welfare"] == sum(final["returns"]) and final["social_welfare_stderr"] == 0.0
    assert [s["initial"][1] for s in final["starts"]] == [f"Plays action {a}, whatever it sees." for a in (0, 1)]
    assert final["social_welfare"] == final["best_start"] >= final["worst_start"]
    assert len(found["iterations"]) == 2 * 2 * 2  # both players answer in each loop of each start
    assert [(i["start"], i["step"], i["player"]) for i in found["iterations"]][:4] == [
        *((0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 1))
    ]
    assert found["budget"]["llm_calls"] == 2 * 4 * 8
    profiles = json.loads((out / "payoffs.json").read_text())["profiles"]
    assert [(p["start"], p["step"]) for p in profiles] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    assert all(e["operator"] == "gradient" for e in commits(out))
    assert any(e.get("welfare") for e in commits(out))
    page = (out / "report.html").read_text()
    assert "Each search was one line of steps" in page and "played by player 0 in the final profile" in page
    assert "Optimisation steps" in page and page.count('class="episode"') > 0
    figure = (out / "figure2.svg").read_text()
    assert (out / "figure2.png").read_bytes().startswith(b"\x89PNG") and "figure2.png" in page
    assert figure.startswith("<svg xmlns=") and figure.count('class="episode"') == page.count('class="episode"')
    assert identical(out)


@pytest.mark.slow
def test_foraging_with_three_players_and_instructions_as_the_variable(tmp_path: Path) -> None:
    overrides = ("game.name=Foraging-10x10-3p-3f-v3", "oracle.variable=prompt", "oracle.returns=last")
    found = ran(tmp_path / "run", "pibr_foraging", *overrides, "pibr.iterations=3", "oracle.opponent_input=both")
    final = found["final"]
    assert [i["player"] for i in found["iterations"]] == [0, 1, 2]
    assert len(final["returns"]) == 3 and final["matches"] == 4
    assert 0 <= final["completion_rate"] <= 1 and "completion_rate_stderr" in final
    assert "efficiency" not in final  # the optimum is not computed for three
    prompts = [json.loads(line)["prompt"]["user"] for line in (tmp_path / "run" / "completions.jsonl").open()]
    assert any("# Current instructions" in p for p in prompts) and any("Its docstring says" in p for p in prompts)
    assert identical(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alpha_evolve", "best_of_n"])
def test_other_oracles_answer_in_pibr(kind: str, tmp_path: Path) -> None:
    overrides = (f"oracle.kind={kind}", "archive.proposals=4", "oracle.samples=3", "oracle.refinements=2")
    found = ran(tmp_path / "run", "pibr_program_pd", *overrides)
    assert found["oracle"] == kind and len(found["iterations"]) == 2
    assert found["final"]["social_welfare"] is not None
    assert identical(tmp_path / "run")


@pytest.mark.slow
def test_textual_gradient_answers_in_psro(tmp_path: Path) -> None:
    words = ["psro.iterations=1", "oracle.kind=textual_gradient", "oracle.steps=2", "evaluation.matches=4"]
    finished(csro("run", "kuhn", "--out", str(tmp_path / "run"), *(w for o in words for w in ("--set", o))))
    assert [i["llm_calls"] for i in summary(tmp_path / "run")["iterations"]] == [4, 4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "parameters", "expected"),
    [
        ("climbing", ("game.form=standard",), [22, 14, 14] * 3),
        ("penalty", ("game.penalty=-7.5",), [20, 4, 20] * 3),
    ],
)
def test_exact_best_responses_through_the_sandbox(
    game: str, parameters: tuple[str, ...], expected: list[int], tmp_path: Path
) -> None:
    overrides = ("oracle.kind=exact_best_response", "pibr.starts=9", "pibr.iterations=3", *parameters)
    found = ran(tmp_path / "run", f"pibr_{game}", *overrides)
    starts = found["final"]["starts"]
    assert [s["social_welfare"] for s in starts] == expected == [s["exact_best_response"] for s in starts]
    assert found["budget"]["llm_calls"] == 0
    assert found["final"]["worst_start"] == min(expected)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_a_finished_one_takes_more_outer_loops(tmp_path: Path) -> None:
    whole = ran(tmp_path / "whole", "pibr_penalty", "pibr.starts=2", "oracle.steps=4")
    out = tmp_path / "killed"
    log = out / "store"
    with started(*words("pibr_penalty", out, "pibr.starts=2", "oracle.steps=4")) as process:
        wait_until(lambda: log.exists() and any(log.iterdir()), "the run's store")
        wait_until(lambda: process.poll() is not None or _iterations_logged(process), "a response")
        process.kill()
    finished(csro("run", "pibr_penalty", "--resume", "--out", str(out)))
    again = summary(out)
    assert _untimed(again) == _untimed(whole)
    finished(csro("run", "pibr_penalty", "--resume", "--out", str(out), "--set", "pibr.iterations=3"))
    assert len(summary(out)["iterations"]) == 6 and identical(out)
    refused = csro("run", "pibr_penalty", "--resume", "--out", str(out), "--set", "pibr.starts=3")
    assert refused.returncode == 2 and "cannot change pibr" in refused.stderr


def _iterations_logged(process: Any) -> bool:
    return "promoted" in process.stderr.readline()


def _untimed(found: dict[str, Any]) -> dict[str, Any]:
    kept = ("iteration", "player", "best_response", "programs_scored", "failures", "llm_calls", "start", "step")
    return {"final": found["final"], "iterations": [{k: i[k] for k in kept} for i in found["iterations"]]}


def test_a_budget_that_ends_in_the_middle(tmp_path: Path) -> None:
    out = tmp_path / "run"
    found = ran(out, "pibr_vanilla", "budget.llm_calls=5", "pibr.starts=2")
    assert found["budget"]["llm_calls"] == 5 and "budget" in found["stopped"]
    assert found["final"]["starts"][0]["social_welfare"] is not None
    assert identical(out)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pibr.starts=10", "9 pure profiles, too few for 10 starts"),
        ("pibr.order=sometimes", "must be alternating or simultaneous or asynchronous"),
        ("pibr.start=2", "did you mean starts"),
        ("oracle.steps=0", "at least 1"),
        ("oracle.carry_over=8", "method pibr carries nothing over"),
        ("oracle.returns=first", "must be last or best"),
        ("oracle.kind=textual_gradien", "did you mean textual_gradient"),
    ],
)
def test_bad_settings_are_told_in_one_line(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_experiment("pibr_penalty", [override])


def test_the_exact_oracle_wants_a_one_shot_matrix_game() -> None:
    with pytest.raises(SettingsError, match="works on matrix games played once, not on penalty"):
        load_experiment("pibr_penalty", ["oracle.kind=exact_best_response", "game.num_rounds=2"])


def test_rows_of_the_table() -> None:
    rows = {row.name: row for row in make_table("pibr").rows}
    assert {name for name, row in rows.items() if row.shown and row.work} >= set(TASKS)
    penalty, exact = rows["penalty"].work, rows["penalty/exact_best_response"].work
    assert isinstance(penalty, PibrPreset) and isinstance(exact, PibrPreset)
    texts = penalty.settings(Request(("llm.model=openai:m",), calls=360), 5)
    experiment = load_experiment("pibr_penalty", texts)
    assert (experiment.budget.llm_calls, experiment.pibr.iterations, experiment.seed) == (360, 2, 5)
    assert experiment.llm.model == "openai:m"
    assert "oracle.kind=exact_best_response" in exact.settings(Request(iterations=3), 1)
    offline = rows["penalty/offline"].work
    assert isinstance(offline, PibrPreset)
    assert load_experiment("pibr_penalty", offline.settings(Request(("llm.model=openai:m",)), 1)).llm.model == "offline"


async def test_the_offline_model_answers_critiques_and_rewrites() -> None:
    program = make_game("penalty").brief.seed_program
    asked = f"# Program under review\n\n```python\n{program}```\n\n# Task\n\nDo not write the new program.\n"
    critique = (await OfflineLLM(1).complete(Prompt("", asked))).text
    assert "weights = [1.0, 1.0, 1.0]" in critique and "cannot judge play" in critique
    tags = "\n\n<new_program>\nthe complete Python source\n</new_program>\n"
    rewrite = f"# Current program\n\n```python\n{program}```\n\n# Task\n\nAnswer between these two tags.{tags}"
    answer = (await OfflineLLM(1).complete(Prompt("", rewrite))).text
    assert "<new_program>\ndef policy(history):" in answer and answer.endswith("</new_program>\n")
    told = f"# Current instructions\n\n```text\nBe bold. Be quick.\n```\n\n{tags.replace('program', 'instructions')}"
    assert "Be quick. Be bold." in (await OfflineLLM(1).complete(Prompt("", told))).text
    # A tag inside a fence is data.
    assert read_prompt(f"```text\n{tags}```\n").tag == ""


def test_a_person_is_told_what_each_start_reached(tmp_path: Path) -> None:
    result = finished(csro(*words("pibr_vanilla", tmp_path / "run", "oracle.kind=exact_best_response")))
    assert "social welfare reached from each start" in result.stdout
    assert "Plays action 0, whatever it sees." in result.stdout and "+4.000" in result.stdout
