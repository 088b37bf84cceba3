"""Transcripts: the seat's own view and moves, the same match again, bounded in length."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.transcript import transcript
from games.core import Game
from games.match import record_match
from games.registry import make_game
from games.simulation import SimulationUse
from sandbox.referee import MatchRecord

NONE = SimulationUse()


class FirstLegal:
    def __init__(self, player: int, seed: int) -> None:
        self.player = player

    def act(self, observation: dict[str, list[int]]) -> int:
        return observation.get("legal_actions", [0])[0]


def played(game: Game, seed: int) -> MatchRecord:
    log = record_match(game, [FirstLegal] * game.spec.num_players, seed)  # type: ignore[list-item]
    actions = [pair for step in log.actions for pair in sorted(step.items())]
    return MatchRecord(seed, tuple(map(float, log.returns)), len(actions), actions)


def test_repeated_simultaneous_play_is_two_lines_of_actions() -> None:
    game = make_game("repeated_rps", num_rounds=100)
    actions = np.stack([np.arange(100) % 3, np.zeros(100, int)], axis=1).astype(np.uint8)
    lines = transcript(game, MatchRecord(1, (0.0, 0.0), 200, actions), 1).splitlines()
    zeros = " ".join(["0"] * 40)
    assert lines[0] == f"its actions:      {zeros} ... {zeros}"
    assert lines[1].startswith("opponent actions: 0 1 2 0 1 2 ") and lines[1].endswith(" 2 0")
    short = transcript(game, MatchRecord(1, (0.0, 0.0), 6, actions[:3]), 0)
    assert short == "its actions:      0 1 2\nopponent actions: 0 0 0"


@pytest.mark.parametrize("name", ["repeated_leduc", "openspiel:kuhn_poker", "climbing"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), seat=st.integers(0, 1))
def test_other_games_show_what_the_seat_saw_and_did(name: str, seed: int, seat: int) -> None:
    game = make_game(name)
    record = played(game, seed)
    heading, *moves, total = transcript(game, record, seat).splitlines()
    assert heading == "what it saw -> its action"
    assert total == f"return of the match: {record.returns[seat]:+g}"
    own = [action for player, action in record.actions if player == seat]
    shown = [line for line in moves if not line.startswith("...")]
    if len(own) <= 18:
        assert [int(line.rpartition(" -> ")[2]) for line in shown] == own
    else:
        assert len(shown) == 18 and f"... {len(own) - 18} moves left out ..." in moves
    for line in shown:
        seen = json.loads(line.rpartition(" -> ")[0])
        assert seen["player"] == seat


def test_a_long_observation_is_cut() -> None:
    game = make_game("climbing", num_rounds=200)
    lines = transcript(game, played(game, 3), 0).splitlines()
    assert all(len(line) < 450 for line in lines)
    assert lines[-2].endswith(" ... (cut) -> 0")


def test_a_match_of_programs_shows_actions_and_simulations_but_no_texts() -> None:
    record = MatchRecord(1, (0.0, 5.0), 2, [(0, 0), (1, 1)], ("mine", "theirs"), (SimulationUse(3, 2, 1, 1), NONE))
    assert transcript(make_game("program_pd"), record, 0).splitlines() == [
        "its action: 0",
        "opponent action: 1",
        "simulations it set going: 3 run, 2 deep, 1 of them failed; 1 more refused",
        "return of the match: +0",
    ]
    assert "its action: 1" in transcript(make_game("program_pd"), record, 1)
