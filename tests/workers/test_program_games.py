"""Games of programs through the command line: a user's own FairBot, a run of the preset, and its replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workers.runs import csro, finished, summary

FAIR_BOT = '''\
import random


class Policy:
    """Does what the opponent would do; with probability 0.1 cooperates at once."""

    def __init__(self, player, seed):
        self.rng = random.Random(seed)

    def act(self, observation):
        if self.rng.random() < 0.1:
            return 0
        return simulate(observation["opponent_source"], observation["my_source"])
'''
SMALL = (
    "psro.iterations=1",
    "psro.payoff_matches=2",
    "oracle.matches=4",
    "oracle.fresh_matches=4",
    "oracle.audit_share=1",
    "archive.proposals=8",
    "evaluation.matches=2",
    "workers.scorers=1",
)


def answer(*words: str) -> Any:
    return json.loads(finished(csro(*words, "--json")).stdout)


@pytest.fixture
def fair_bot(tmp_path: Path) -> str:
    path = tmp_path / "fair.py"
    path.write_text(FAIR_BOT)
    return str(path)


@pytest.mark.parametrize(
    ("opponent", "expected"), [("bot:cooperate_bot", (3.0, 3.0)), ("bot:defect_bot", (0.9, 1.4)), ("", (3.0, 3.0))]
)
def test_a_fair_bot_file_plays_as_the_theory_says(fair_bot: str, opponent: str, expected: tuple[float, float]) -> None:
    result = answer("match", fair_bot, opponent or fair_bot, "--game", "program_pd", "--matches", "24")
    assert result["sandbox_level"] >= 3
    for player, value in zip(result["players"], expected, strict=True):
        assert player["finished"] == 24 and not player["failures"]
        assert abs(player["mean_return"] - value) <= 4 * player["stderr"]


def test_the_unit_test_takes_a_fair_bot_and_tells_what_is_wrong_with_another(fair_bot: str) -> None:
    (checked,) = answer("check", fair_bot, "--game", "program_pd")
    assert checked["outcome"] == "ok"
    Path(fair_bot).write_text(FAIR_BOT.replace('observation["my_source"]', "observation"))
    result = csro("check", fair_bot, "--game", "program_pd", "--json")
    (checked,) = json.loads(result.stdout)
    assert (result.returncode, checked["outcome"]) == (1, "runtime_error")
    assert "opponent_source must be a str, not dict" in checked["traceback"]


@pytest.mark.slow
def test_the_preset_promotes_and_replays(tmp_path: Path) -> None:
    """Every program is audited: those that simulate repeat their moves when replayed alone."""
    out = tmp_path / "run"
    finished(csro("run", "program_pd", "--out", str(out), *(word for key in SMALL for word in ("--set", key))))
    report = summary(out)
    assert report["game"] == "program_pd"
    assert report["iterations"][0]["best_response"]["mean_return"] > 1.0
    assert report["iterations"][0]["failures"].get("audit_mismatch", 0) == 0
    assert set(report["final"]["by_opponent"]) >= {"fair_bot", "prudent_bot", "cooperate_bot"}
    assert answer("replay", str(out))["identical"] is True
