"""A whole run: what it leaves, that it replays, that it resumes."""

import json
import re
from pathlib import Path

import pytest

from tests.workers.runs import csro, finished, run_words, summary

pytestmark = pytest.mark.slow

SUMMARY_KEYS = {"run_id", "game", "method", "oracle", "seed", "sandbox", "versions", "budget", "iterations", "final"}
ITERATION_KEYS = {"iteration", "opponents", "best_response", "programs_scored", "failures", "llm_calls", "wall_s"}
FINAL_KEYS = {"meta_strategy", "pop_return", "pop_expl", "agg_score", "matches_per_bot", "by_opponent"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small local run for all tests of this module."""
    path = tmp_path_factory.mktemp("runs") / "small"
    result = finished(csro(*run_words(path, "execution=local"), "--json"))
    assert json.loads(result.stdout) == summary(path)
    return path


def test_the_summary_has_the_documented_keys(out: Path) -> None:
    found = summary(out)
    assert found.keys() >= SUMMARY_KEYS
    assert found["budget"].keys() >= {"llm_calls", "tokens_in", "tokens_out", "usd"}
    assert found["sandbox"]["level"] >= 3
    assert found["sandbox"]["layers"]
    assert found["sandbox"]["strict_payoffs"] is False
    assert len(found["iterations"]) == 2
    for entry in found["iterations"]:
        assert entry.keys() >= ITERATION_KEYS
        assert sum(entry["opponents"].values()) == pytest.approx(1.0)
        assert entry["best_response"].keys() >= {"id", "mean_return", "stderr", "matches"}
        assert entry["programs_scored"] == 16
        assert entry["llm_calls"] == 16
    assert found["final"].keys() >= FINAL_KEYS
    assert len(found["final"]["by_opponent"]) == 43
    assert {"mean", "stderr"} <= found["final"]["by_opponent"]["randbot"].keys()


def test_the_run_directory_is_complete(out: Path) -> None:
    names = {p.name for p in out.iterdir()}
    assert names >= {"experiment.toml", "summary.json", "policies", "payoffs.json", "events.jsonl"}
    assert names >= {"completions.jsonl", "report.html"}
    assert len(list((out / "policies").glob("*.py"))) == 3
    assert sum(1 for _ in (out / "completions.jsonl").open()) == summary(out)["budget"]["llm_calls"] == 32


def test_every_proposal_is_committed_once(out: Path) -> None:
    events = [json.loads(line) for line in (out / "events.jsonl").open()]
    proposals = [(e["task"], e["proposal"]) for e in events if e["type"] == "commit"]
    assert sorted(proposals) == [(f"br-{task:03d}", k) for task in range(2) for k in range(16)]


def test_it_replays_identically(out: Path) -> None:
    result = finished(csro("replay", str(out), "--json"))
    assert json.loads(result.stdout) == {"identical": True, "first_difference": None}


def test_other_settings_leave_the_recording_at_a_request_that_is_named(out: Path, tmp_path: Path) -> None:
    told = r"no answer to request [0-9a-f]{12} \(sample 'br-000/\d+'\); the nearest recorded one differs in: user"
    other = "oracle.opponent_input=none"
    replayed = csro("replay", str(out), "--set", other, "--json")
    assert replayed.returncode == 1
    assert re.search(told, json.loads(replayed.stdout)["first_difference"])
    again = csro(*run_words(tmp_path / "again", "execution=local", f"llm.model=replay:{out}", other))
    assert again.returncode == 1
    assert re.search(told, again.stderr)


def test_a_changed_recording_is_found_out(out: Path, tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    forged.mkdir()
    for name in ("experiment.toml", "summary.json", "completions.jsonl", "events.jsonl"):
        text = (out / name).read_text()
        if name == "events.jsonl":
            lines = [json.loads(line) for line in text.splitlines()]
            commit = next(e for e in lines if e["type"] == "commit" and e["mean_return"] is not None)
            commit["mean_return"] += 1
            text = "".join(json.dumps(e) + "\n" for e in lines)
        (forged / name).write_text(text)
    result = csro("replay", str(forged), "--json")
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert found["identical"] is False
    assert "mean_return" in found["first_difference"]


def test_a_finished_run_is_evaluated_and_reported(out: Path) -> None:
    words = ("evaluate", str(out), "--game", "repeated_rps", "--set", "game.num_rounds=100", "--matches", "2", "--json")
    assert json.loads(finished(csro(*words)).stdout)["matches_per_bot"] >= 2
    assert finished(csro("report", str(out))).stdout.strip().endswith("report.html")


def test_resuming_a_finished_run_changes_nothing(out: Path) -> None:
    before = summary(out)
    finished(csro("run", "demo", "--resume", "--out", str(out)))
    after = summary(out)
    assert after["iterations"] == before["iterations"]
    assert after["final"] == before["final"]
    assert after["budget"] == before["budget"]


def test_resume_changes_nothing_that_results_depend_on(out: Path) -> None:
    refused = csro("run", "demo", "--resume", "--out", str(out), "--set", "oracle.matches=3")
    assert refused.returncode == 2
    assert "cannot change oracle" in refused.stderr


def test_resume_adds_iterations_that_carry_over_and_replay(tmp_path: Path) -> None:
    path = tmp_path / "grown"
    changes = ("execution=local", "psro.iterations=1", "oracle.carry_over=3", "archive.proposals=6")
    finished(csro(*run_words(path, *changes)))
    before = summary(path)
    finished(csro("run", "demo", "--resume", "--out", str(path), "--set", "psro.iterations=2"))
    after = summary(path)
    assert after["iterations"][0] == before["iterations"][0]
    assert [entry["iteration"] for entry in after["iterations"]] == [1, 2]
    assert [entry["carried"] for entry in after["iterations"]] == [0, 3]
    replayed = finished(csro("replay", str(path), "--json"))
    assert json.loads(replayed.stdout) == {"identical": True, "first_difference": None}


def test_a_run_directory_in_use_is_not_overwritten(out: Path) -> None:
    result = csro(*run_words(out))
    assert result.returncode == 2
    assert "holds a run already" in result.stderr


def test_the_budget_ends_the_run_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "poor"
    finished(csro(*run_words(path, "execution=local", "budget.llm_calls=20")))
    found = summary(path)
    assert found["budget"]["llm_calls"] == 20
    assert "budget" in found["stopped"]
    assert [entry["llm_calls"] for entry in found["iterations"]] == [16, 4]
    assert "pop_return" in found["final"]
