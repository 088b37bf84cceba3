"""The replay audit finds what the sandbox cannot prevent, and clears honest programs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benign_corpus import PROGRAMS
from conftest import Countdown

from games.repeated_rps import RepeatedRPS
from games.seeds import match_seed
from sandbox.audit import audit, moves_of
from sandbox.referee import Referee

GAME = RepeatedRPS(num_rounds=40)
SEEDS = [match_seed(23, k) for k in range(8)]
OPPONENT = PROGRAMS["random_global"]

POOLING = """
import sys
shared = sys.modules["games.core"].__dict__.setdefault("pool", [])
class Policy:
    def __init__(self, player, seed):
        self.mine = len(shared)
        shared.append([])
    def act(self, observation):
        if observation["opponent_actions"]:
            shared[self.mine].append(observation["opponent_actions"][-1])
        everything = sum(map(sum, shared)) + sum(map(len, shared))
        return everything % 3
"""
CLOCK = """
import time
def policy(observation):
    return time.perf_counter_ns() // 64 % 3
"""
ENTROPY = "import os\ndef policy(observation): return os.urandom(1)[0] % 3\n"
TAKER = "def policy(observation):\n    return observation['legal_actions'][-1]\n"


@pytest.mark.parametrize(
    "name", ["numpy", "random_unseeded", "module_state", "distribution", "heapq_bisect_collections"]
)
@pytest.mark.parametrize("seat", [0, 1])
def test_honest_programs_repeat_every_move(referee: Referee, name: str, seat: int) -> None:
    players = [OPPONENT, OPPONENT]
    players[seat] = PROGRAMS[name]
    records = referee.play(GAME, players, seeds=SEEDS)
    result = audit(referee, GAME, PROGRAMS[name], records, seat)
    assert result.ok, result.detail
    assert result.matches == len(SEEDS)


@pytest.mark.parametrize("source", [POOLING, CLOCK, ENTROPY], ids=["pooling", "clock", "entropy"])
def test_programs_that_use_what_they_should_not_have_differ(referee: Referee, source: str) -> None:
    records = referee.play(GAME, [source, OPPONENT], seeds=SEEDS)
    flagged = [audit(referee, GAME, source, record, 0) for record in records[1:]]
    assert not any(result.ok for result in flagged)
    assert "when replayed alone" in flagged[0].detail


def test_strict_matches_leave_nothing_to_pool(referee: Referee) -> None:
    records = referee.play(GAME, [POOLING, OPPONENT], seeds=SEEDS, strict=True)
    assert audit(referee, GAME, POOLING, records, 0).ok


def test_a_program_other_than_the_one_logged_differs(referee: Referee) -> None:
    record = referee.play(GAME, [PROGRAMS["function"], OPPONENT], seeds=SEEDS)[0]
    result = audit(referee, GAME, PROGRAMS["big_table"], record, 0)
    assert not result.ok and f"seed {record.seed}" in result.detail
    failing = audit(referee, GAME, "def policy(o): return 1 // 0", record, 0)
    assert not failing.ok and "runtime_error" in failing.detail


@pytest.mark.parametrize("seat", [0, 1, 2])
def test_games_of_turns_are_audited_too(referee: Referee, seat: int) -> None:
    game = Countdown()
    records = referee.play(game, [TAKER, TAKER, TAKER], seeds=SEEDS)
    assert audit(referee, game, TAKER, records, seat).ok
    other = "def policy(observation):\n    return observation['legal_actions'][0]\n"
    assert not audit(referee, game, other, records, seat).ok


def test_moves_of_a_seat(referee: Referee) -> None:
    record = referee.play(GAME, [PROGRAMS["function"], OPPONENT], seeds=SEEDS[:1])[0]
    assert moves_of(record, 0) == [k % 3 for k in range(40)]
    turns = replace(record, actions=[(0, 2), (1, 1), (0, 1)])
    assert moves_of(turns, 0) == [2, 1]
