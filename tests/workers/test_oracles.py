"""Each oracle end to end through the command line on short matches, and its replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workers.runs import csro, finished, summary
from workers.settings import load_experiment, preset_names

KINDS = ("zero_shot", "best_of_n", "linear_refinement", "alpha_evolve", "reinforcement")
SMALL = {
    "game.num_rounds": 50,
    "psro.iterations": 2,
    "psro.payoff_matches": 2,
    "oracle.matches": 2,
    "oracle.fresh_matches": 4,
    "oracle.samples": 4,
    "oracle.refinements": 3,
    "oracle.training_steps": 4000,
    "oracle.checkpoints": 2,
    "archive.proposals": 6,
    "evaluation.matches": 2,
    "workers.scorers": 1,
    "execution": "local",
}


def words(preset: str, out: Path, **overrides: object) -> list[str]:
    values = {**SMALL, **{key.replace("__", "."): value for key, value in overrides.items()}}
    return ["run", preset, "--out", str(out), *(w for k, v in values.items() for w in ("--set", f"{k}={v}"))]


def commits(out: Path) -> list[dict[str, Any]]:
    return [e for e in map(json.loads, (out / "events.jsonl").open()) if e["type"] == "commit"]


@pytest.mark.parametrize("game", ["rrps", "leduc"])
@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_preset_of_each_oracle_on_each_game(game: str, kind: str) -> None:
    assert f"{game}_{kind}" in preset_names()
    experiment = load_experiment(f"{game}_{kind}")
    assert experiment.oracle.kind == kind
    assert experiment.llm.model == "offline"
    assert experiment.evaluation.matches >= 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        ("zero_shot", {1}),
        ("best_of_n", {4}),
        ("linear_refinement", {1, 2, 3, 4}),
        ("alpha_evolve", {6}),
        ("reinforcement", {0}),
    ],
)
def test_a_run_of_each_oracle_replays_identically(kind: str, calls: set[int], tmp_path: Path) -> None:
    out = tmp_path / kind
    # Descriptions are the model's calls too; here only the code is shown.
    finished(csro(*words(f"rrps_{kind}", out, oracle__opponent_input="code")))
    found = summary(out)
    assert found["oracle"] == kind
    assert len(found["iterations"]) == 2
    assert all(entry["llm_calls"] in calls for entry in found["iterations"])
    scored = {"reinforcement": {2}}.get(kind)
    assert all(e["programs_scored"] in (scored or {e["llm_calls"]}) for e in found["iterations"])
    replayed = finished(csro("replay", str(out), "--json"))
    assert json.loads(replayed.stdout) == {"identical": True, "first_difference": None}


@pytest.mark.slow
def test_descriptions_a_small_budget_and_more_of_it_later(tmp_path: Path) -> None:
    """The description of the seed program is one call; the budget ends the first line in its middle."""
    out = tmp_path / "poor"
    finished(csro(*words("rrps_best_of_n", out, oracle__opponent_input="both", budget__llm_calls=3)))
    found = summary(out)
    assert found["budget"]["llm_calls"] == 3
    assert "budget" in found["stopped"]
    assert [e["proposal"] for e in commits(out)] == [0, 1]
    recorded = [json.loads(line) for line in (out / "completions.jsonl").open()]
    assert [r["prompt"]["sample"] for r in recorded] == ["", "br-000/0", "br-000/1"]
    assert "Its docstring says" in recorded[1]["prompt"]["user"]
    replayed = finished(csro("replay", str(out), "--json"))
    assert json.loads(replayed.stdout)["identical"] is True
    finished(csro("run", "rrps_best_of_n", "--resume", "--out", str(out), "--set", "budget.llm_calls=50"))
    assert [e["task"] for e in commits(out)] == ["br-000"] * 2 + ["br-001"] * 4
    replayed = finished(csro("replay", str(out), "--json"))
    assert json.loads(replayed.stdout) == {"identical": True, "first_difference": None}


@pytest.mark.slow
def test_a_training_that_the_clock_ended_replays_identically(tmp_path: Path) -> None:
    out = tmp_path / "late"
    overrides = {"oracle__training_steps": 40_000, "oracle__checkpoints": 20, "budget__wall_s": 8}
    finished(csro(*words("rrps_reinforcement", out, **overrides)))
    assert "budget.wall_s" in summary(out)["stopped"]
    assert 0 < len(commits(out)) < 40
    replayed = finished(csro("replay", str(out), "--json"))
    assert json.loads(replayed.stdout) == {"identical": True, "first_difference": None}
