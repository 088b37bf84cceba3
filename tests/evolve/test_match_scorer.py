"""Scoring in the real sandbox: what a return is made of, whose fault a failure is, and what the audit finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from evolve.match_scorer import is_audited, score
from evolve.program import Program
from evolve.scoring import Failed, Scored, ScoringTask
from games.registry import make_game
from sandbox.limits import Limits
from sandbox.referee import Referee

GAME = make_game("repeated_rps", num_rounds=60)


def constant(action: int) -> Program:
    head = "class Policy:\n    def __init__(self, player, seed):\n        pass\n"
    return Program(f"{head}    def act(self, o):\n        return {action}\n")


ROCK, PAPER, SCISSORS = map(constant, range(3))
RANDOM = Program(
    "import random\nclass Policy:\n    def __init__(self, player, seed):\n        self.r = random.Random(seed)\n"
    "    def act(self, o):\n        return self.r.randrange(3)\n"
)
POOLING = Program(
    "import sys\nclass Policy:\n    def __init__(self, player, seed):\n        pass\n    def act(self, o):\n"
    "        seen = sys.__dict__.setdefault('seen', [])\n        seen.append(1)\n        return len(seen) % 3\n"
)
CRASHING = Program(ROCK.source.replace("return 0", "return 1 // (o['round'] < 30)"))


@pytest.fixture(scope="module")
def referee() -> Iterator[Referee]:
    with Referee(Limits()) as referee:
        yield referee


def task(weights: dict[Program, float], matches: int = 4, audit_share: float = 0.0) -> ScoringTask:
    opponents = {p.id: p for p in weights}
    return ScoringTask(opponents, {p.id: w for p, w in weights.items()}, matches, 7, 0, audit_share)


def test_the_return_is_the_weighted_mean_over_opponents(referee: Referee) -> None:
    result = score(referee, GAME, PAPER, task({ROCK: 0.75, SCISSORS: 0.25}), Limits())
    assert isinstance(result, Scored)
    assert result.mean_return == pytest.approx(60 * 0.75 - 60 * 0.25)
    assert result.stderr == 0
    assert result.matches == 8
    assert result.level == referee.isolation.level
    assert "1 1 1" in result.transcript


def test_the_error_is_that_of_the_stratified_mean(referee: Referee) -> None:
    result = score(referee, GAME, RANDOM, task({ROCK: 0.5, PAPER: 0.5}, matches=16), Limits())
    assert isinstance(result, Scored)
    errors = [0.5 * r.stderr for r in result.by_opponent.values()]
    assert result.stderr == pytest.approx(sum(e**2 for e in errors) ** 0.5)
    assert 0 < result.stderr < 60


def test_the_same_seeds_give_the_same_result(referee: Referee) -> None:
    first, second = (score(referee, GAME, RANDOM, task({ROCK: 1.0}), Limits()) for _ in range(2))
    assert first == second


def test_a_program_that_fails_has_no_score(referee: Referee) -> None:
    result = score(referee, GAME, CRASHING, task({ROCK: 1.0}), Limits())
    assert isinstance(result, Failed)
    assert (result.stage, result.fault) == ("match", "runtime_error")
    assert "ZeroDivisionError" in result.traceback


def test_an_opponent_that_fails_forfeits(referee: Referee) -> None:
    result = score(referee, GAME, ROCK, task({CRASHING: 1.0}), Limits())
    assert isinstance(result, Scored)
    assert result.by_opponent[CRASHING.id].forfeits == 4
    assert result.mean_return == 60


@pytest.mark.parametrize(("program", "passes"), [(ROCK, True), (RANDOM, True), (POOLING, False)])
def test_the_audit_finds_a_program_that_pools_its_matches(referee: Referee, program: Program, passes: bool) -> None:
    audited = score(referee, GAME, program, task({PAPER: 1.0}, audit_share=1.0), Limits())
    assert isinstance(score(referee, GAME, program, task({PAPER: 1.0}), Limits()), Scored)
    assert isinstance(audited, Scored) is passes
    if isinstance(audited, Failed):
        assert (audited.stage, audited.fault) == ("audit", "audit_mismatch")
        assert "replayed alone" in audited.traceback


def test_in_strict_matches_a_program_cannot_tell_its_matches_apart(referee: Referee) -> None:
    first_wins = Program(
        "import sys\nclass Policy:\n    def __init__(self, player, seed):\n"
        "        made = sys.__dict__.setdefault('made', [])\n        made.append(1)\n"
        "        self.move = 2 if len(made) == 1 else 0\n    def act(self, o):\n        return self.move\n"
    )
    together = score(referee, GAME, first_wins, task({PAPER: 1.0}, matches=8), Limits())
    alone = score(referee, GAME, first_wins, replace(task({PAPER: 1.0}, matches=8), strict=True), Limits())
    assert isinstance(together, Scored) and isinstance(alone, Scored)
    assert together.mean_return < alone.mean_return == 60


def test_the_share_that_is_audited_is_the_one_asked_for() -> None:
    programs = [constant(k) for k in range(2000)]
    base = task({ROCK: 1.0})
    for share in (0.0, 0.05, 1.0):
        found = sum(is_audited(p, replace(base, audit_share=share)) for p in programs) / len(programs)
        assert found == pytest.approx(share, abs=0.02)
