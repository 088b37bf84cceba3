"""``csro evaluate`` on repeated Leduc hold'em: exact where a player has no memory, sampled where it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evolve.population_metrics import exact_metrics
from evolve.program import Program
from games.registry import make_game
from tests.workers.runs import csro, finished
from workers.errors import UsageError
from workers.experiment import GameSettings
from workers.players import resolve
from workers.scorer import ScorerConfig, ScoringProcess, reference_players
from workers.settings import experiment_from

ALWAYS_RAISE = """
class Policy:
    def __init__(self, player, seed):
        pass
    def act(self, observation):
        return 2 if 2 in observation["legal_actions"] else 1
"""
MIXES = """
class Policy:
    def __init__(self, player, seed):
        pass
    def act(self, observation):
        return [0.5 if a < 2 else 0.0 for a in range(3)] if 0 in observation["legal_actions"] else 1
"""
REMEMBERS = """
class Policy:
    def __init__(self, player, seed):
        self.calls = 0
    def act(self, observation):
        self.calls += 1
        return 1 if self.calls % 2 else max(observation["legal_actions"])
"""
DRAWS = """
import random
class Policy:
    def __init__(self, player, seed):
        self.rng = random.Random(seed)
    def act(self, observation):
        return self.rng.choice(observation["legal_actions"])
"""
CRASHES = "class Policy:\n    def __init__(self, player, seed): pass\n    def act(self, observation): return 1 / 0\n"


def evaluate(target: str, *more: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(
        finished(csro("evaluate", target, "--game", "repeated_leduc", "--json", *more)).stdout
    )
    return result


def means(result: dict[str, Any]) -> dict[str, float]:
    return {name: entry["mean"] for name, entry in result["by_opponent"].items()}


@pytest.mark.slow
def test_cfr_plus_as_the_paper_measures_it() -> None:
    result = evaluate("cfr+")
    assert result["exact"] is True and result["matches_per_bot"] == 0
    assert result["pop_return"] == pytest.approx(40.2, abs=0.1)
    assert result["pop_expl"] == pytest.approx(0.0, abs=0.05)
    assert means(result)["AlwaysCall"] == pytest.approx(63.3, abs=0.05)
    assert means(result)["AlwaysFold"] == pytest.approx(57.3, abs=0.05)


@pytest.mark.slow
def test_exact_and_sampled_agree(tmp_path: Path) -> None:
    """The same strategy, once without memory and once with some that changes nothing the game can see."""
    sampled = tmp_path / "sampled.py"
    sampled.write_text(DRAWS)
    result = evaluate(str(sampled), "--matches", "200")
    assert result["exact"] is False and result["matches_per_bot"] == 200
    exact = tmp_path / "exact.py"
    exact.write_text(
        "class Policy:\n"
        "    def __init__(self, player, seed): pass\n"
        "    def act(self, observation):\n"
        "        legal = observation['legal_actions']\n"
        "        return [1 / len(legal) if a in legal else 0.0 for a in range(3)]\n"
    )
    true = evaluate(str(exact))
    assert true["exact"] is True
    for name, entry in result["by_opponent"].items():
        assert entry["mean"] == pytest.approx(means(true)[name], abs=4.5 * entry["stderr"])


@pytest.fixture(scope="module")
def scorer() -> Iterator[ScoringProcess]:
    settings = experiment_from({"game": {"name": "repeated_leduc"}})
    process = ScoringProcess(ScorerConfig(GameSettings("repeated_leduc", {}), settings.sandbox), 0)
    yield process
    process._referee.close()


def test_a_program_that_always_raises(scorer: ScoringProcess) -> None:
    values = scorer.exact_returns(Program(ALWAYS_RAISE), 0)
    assert values is not None
    assert values == scorer.exact_returns("AlwaysRaise", 0)
    assert values["AlwaysFold"] == pytest.approx(100.0) and values["AlwaysCall"] == pytest.approx(0.0)


def test_distributions_are_taken_as_they_are(scorer: ScoringProcess) -> None:
    values = scorer.exact_returns(Program(MIXES), 0)
    assert values is not None
    assert values["AlwaysCall"] == pytest.approx(0.0, abs=1e-9)  # neither ever bets
    assert values["cfr+"] < 0


@pytest.mark.parametrize("source", [REMEMBERS, DRAWS, CRASHES, "import nothing_of_the_kind"])
def test_memory_own_randomness_and_faults_are_left_to_matches(scorer: ScoringProcess, source: str) -> None:
    assert scorer.exact_returns(Program(source), 0) is None


def test_names_beside_the_population_are_known() -> None:
    game = make_game("repeated_leduc")
    assert set(reference_players(game)) == {"cfr+", "AlwaysCall", "AlwaysFold", "AlwaysRaise"}
    assert resolve("bot:AlwaysRaise", game).weights == {"AlwaysRaise": 1.0}
    with pytest.raises(UsageError, match="AlwaysRaise"):
        resolve("bot:AlwaysRaises", game)


def test_exact_metrics_have_no_negative_zero() -> None:
    assert str(exact_metrics({"a": 0.0, "b": 1.0}).pop_expl.value) == "0.0"  # type: ignore[union-attr]
