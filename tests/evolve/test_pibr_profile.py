"""Policies scored in a profile, in the real sandbox: exact values, fixed seats, faults by seat, what prompts show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evolve.pibr_profile import ProfileMatch, play_profile, score_in_profile, stated_mixtures
from evolve.pibr_starts import pure_program
from evolve.program import Program
from evolve.scoring import LINEUP, Evaluation, Failed, Scored, ScoringTask
from games.core import Game
from games.registry import make_game
from sandbox.faults import Fault
from sandbox.limits import Limits
from sandbox.referee import Referee

LIMITS = Limits(move_timeout_s=5.0)
MIXED = Program("def policy(history):\n    return [0.25, 0.75, 0.0]\n")
SEEDED = Program(
    "class Policy:\n    def __init__(self, player, seed):\n        self.action = seed % 3\n\n"
    "    def act(self, history):\n        return self.action\n"
)
CRASHES = Program("def policy(history):\n    return history['nothing']\n")
SEAT = Program("def policy(history):\n    return history['player']\n")


@pytest.fixture(scope="module")
def referee() -> Iterator[Referee]:
    with Referee(LIMITS) as made:
        yield made


def score(referee: Referee, game: Game, program: Program, *others: Program, player: int = 0) -> Evaluation:
    task = ScoringTask(
        {p.id: p for p in others},
        {LINEUP.join(p.id for p in others): 1.0},
        matches_per_opponent=6,
        seed=3,
        player=player,
        audit_share=1.0,
        in_profile=True,
    )
    return score_in_profile(referee, game, program, task, LIMITS)


def test_a_one_shot_matrix_game_is_scored_exactly(referee: Referee) -> None:
    game = make_game("climbing")  # row 0 is 11, -30, 0 and row 1 is -30, 7, 0
    found = score(referee, game, MIXED, pure_program(1))
    assert isinstance(found, Scored)
    assert (found.mean_return, found.stderr, found.matches) == (0.25 * -30 + 0.75 * 7, 0.0, 6)
    assert "player 0 plays [0.25, 0.75, 0], expected return -2.25 (exact)" in found.transcript
    assert len(found.welfare) == 6 and set(found.welfare) <= {-60.0, 14.0}
    assert score(referee, game, pure_program(1), MIXED, player=1) != found


def test_a_program_that_lets_its_seed_decide_has_no_exact_value(referee: Referee) -> None:
    game = make_game("climbing")
    assert stated_mixtures(referee, game, [SEEDED, MIXED], LIMITS) is None
    found = score(referee, game, SEEDED, pure_program(2))
    assert isinstance(found, Scored) and found.stderr > 0
    repeated = make_game("climbing", num_rounds=3)
    assert stated_mixtures(referee, repeated, [MIXED, MIXED], LIMITS) is None


def test_players_keep_their_seats_even_in_symmetric_games(referee: Referee) -> None:
    game = make_game("vanilla")
    assert game.spec.symmetric
    for player in (0, 1):
        found = score(referee, game, SEAT, pure_program(player), player=player)
        assert isinstance(found, Scored) and found.mean_return == (2.0, 1.0)[player]


def test_faults_count_for_the_seat_that_failed(referee: Referee) -> None:
    game = make_game("vanilla")
    mine = score(referee, game, CRASHES, pure_program(0))
    assert isinstance(mine, Failed) and (mine.stage, mine.fault) == ("match", "runtime_error")
    assert "KeyError" in mine.traceback
    theirs = score(referee, game, pure_program(0), CRASHES)
    assert isinstance(theirs, Scored) and theirs.mean_return == 0.0  # the least that the game pays
    assert "6 matches were lost because another player's program failed" in theirs.transcript
    played = play_profile(referee, game, [pure_program(0), CRASHES], [1, 2], LIMITS)
    assert all(isinstance(match, Fault) and match.player == 1 for match in played.matches)


def test_three_players_sit_together_and_the_trajectory_shows_all_of_them(referee: Referee) -> None:
    game = make_game("Foraging-10x10-3p-3f-v3", max_steps=8)
    found = score(referee, game, SEAT, pure_program(3), pure_program(4), player=1)
    assert isinstance(found, Scored) and len(found.welfare) == 6
    assert "The worst of 6 matches: social welfare" in found.transcript
    assert "actions player 0: 3, player 1: 1, player 2: 4 | rewards" in found.transcript
    assert found.transcript.count("step 7: state [") >= 1
    played = play_profile(referee, game, [pure_program(0)] * 3, [5], LIMITS)
    assert played.matches == (ProfileMatch((-1.0,) * 3, 24),)


def test_equal_matches_are_shown_once(referee: Referee) -> None:
    found = score(referee, make_game("vanilla"), pure_program(2), pure_program(2))
    assert isinstance(found, Scored)
    assert found.transcript.count("social welfare") == 1
    assert "All 6 matches went alike: social welfare +6.000" in found.transcript


def test_programs_that_read_each_other_are_scored_with_their_sources(referee: Referee) -> None:
    game = make_game("program_pd")
    clique = Program(game.reference_programs()["clique_bot"])  # type: ignore[attr-defined]
    found = score(referee, game, clique, clique)
    assert isinstance(found, Scored) and found.mean_return == 3.0
    assert isinstance(against := score(referee, game, clique, pure_program(1)), Scored) and against.mean_return == 1.0
    assert "my_source" not in found.transcript
