"""Matches as prompts show them."""

from __future__ import annotations

from evolve.pibr_trajectory import trajectories
from games.registry import make_game
from sandbox.referee import Referee

STUCK = "def policy(history):\n    return 0\n"
NORTH = "def policy(history):\n    return 1\n"


def test_steps_that_repeat_are_told_once() -> None:
    game = make_game("Foraging-5x5-2p-2f-coop-v3")
    with Referee() as referee:
        records = referee.play(game, [NORTH, STUCK], seeds=[1, 2])
    text = trajectories(game, records, 0)
    assert "to 48, all alike: state " in text
    assert text.count("step") < 20
    assert "step 49: " in text  # the last differs: the end penalty


def test_equal_matches_are_shown_once() -> None:
    game = make_game("penalty")
    with Referee() as referee:
        records = referee.play(game, [STUCK, STUCK], seeds=[1, 2])
    text = trajectories(game, records, 0)
    assert text.startswith("All 2 matches went alike")
    assert text.count("step 0: ") == 1
