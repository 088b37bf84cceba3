"""``csro match``: mean returns, social welfare, and how often the players did as well as they could together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import games.foraging_planner
from tests.workers.runs import csro, finished

PLANNER = str(games.foraging_planner.__file__)


def match(*words: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(finished(csro("match", *words, "--json")).stdout)
    return result


def test_planners_written_as_programs_are_optimal_in_every_episode() -> None:
    found = match(PLANNER, PLANNER, "--game", "foraging", "--matches", "64")
    assert (found["optimal"], found["of"], found["sandbox_level"]) == (64, 64, found["sandbox_level"])
    assert found["social_welfare"] == pytest.approx(found["best_welfare"])
    assert found["social_welfare"] == pytest.approx(sum(p["mean_return"] for p in found["players"]))


def test_a_poor_pair_is_seldom_optimal() -> None:
    found = match("bot:nearest", "bot:nearest", "--game", "foraging", "--matches", "64")
    assert 0 < found["optimal"] < 32 and found["social_welfare"] < found["best_welfare"]


def test_welfare_of_a_matrix_game_and_of_a_game_without_a_known_best() -> None:
    found = match("bot:always_0", "bot:always_2", "--game", "penalty", "--matches", "4")
    assert (found["social_welfare"], found["best_welfare"], found["optimal"]) == (20, 20, 4)
    found = match(*["bot:together"] * 3, "--game", "Foraging-10x10-3p-3f-v3", "--matches", "4")
    assert found["social_welfare_stderr"] > 0 and "optimal" not in found


def test_seats_may_be_kept(tmp_path: Path) -> None:
    for seat in (0, 1):
        source = f"def history_dependent_policy_{seat}(history):\n    return [0.0, 0.0, 1.0]\n"
        (tmp_path / f"{seat}.py").write_text(source)
    files = [str(tmp_path / f"{seat}.py") for seat in (0, 1)]
    kept = match(*files, "--game", "vanilla", "--matches", "4", "--keep-seats")
    assert (kept["social_welfare"], kept["optimal"], kept["of"]) == (6, 4, 4)
    swapped = match(*files, "--game", "vanilla", "--matches", "4")
    assert sum(sum(player["failures"].values()) for player in swapped["players"]) == 2
    checked = csro("check", files[1], "--game", "vanilla")
    assert checked.returncode == 1 and "history_dependent_policy_1 and sits in seat 0" in checked.stdout
    assert "ok" in finished(csro("check", files[1], "--game", "vanilla", "--player", "1")).stdout
    refused = csro("check", files[1], "--game", "vanilla", "--player", "2")
    assert refused.returncode == 2 and "vanilla has players 0 to 1" in refused.stderr


def test_zero_sum_games_have_no_welfare() -> None:
    assert "social_welfare" not in match("bot:rockbot", "bot:copybot", "--game", "repeated_rps", "--matches", "2")
