"""What racing saves: matches to pick the best of the RPS bots against a mixture, at the same error of the choice.

Returns of real matches are drawn from a table made once. A trial meets the bots in a random order, as a search meets
its children, and keeps the better of each and the best so far, by the code that scores children.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from evolve.oracles.cascade import CascadeSettings, is_worse, stages
from evolve.scoring import OpponentReturn, Scored
from games.core import Game
from games.match import play_match
from games.registry import make_game
from games.seeds import match_seed

OPPONENTS = ("switchbot", "randbot", "freqbot2", "marble")
WEIGHTS = {name: 1 / len(OPPONENTS) for name in OPPONENTS}
KNOWN, MATCHES, ROUNDS = 96, 32, 100
TRIALS = int(os.environ.get("BENCH_RACING_TRIALS", "100"))

Table = Mapping[str, Mapping[str, np.ndarray]]
"""Of each bot against each opponent: its return in ``KNOWN`` matches, those of one column on common seeds."""


@dataclass(frozen=True)
class Result:
    """Means over trials: matches, lost return of the bot chosen, share of trials that chose the best."""

    matches: float
    regret: float
    correct: float


@pytest.fixture(scope="module")
def table() -> Table:
    game: Game = make_game("repeated_rps", num_rounds=ROUNDS)
    bots = game.reference_population()

    def returns(bot: str, opponent: str) -> np.ndarray:
        seeds = (match_seed(1, opponent, k) for k in range(KNOWN))
        return np.array([play_match(game, (bots[bot], bots[opponent]), seed)[0] for seed in seeds])

    names = [name for name in bots if name not in OPPONENTS]
    return {bot: {opponent: returns(bot, opponent) for opponent in OPPONENTS} for bot in names}


def mean(returns: Mapping[str, Sequence[float]]) -> float:
    return sum(WEIGHTS[name] * float(np.mean(values)) for name, values in returns.items())


def evaluation(bot: Mapping[str, np.ndarray], picks: Mapping[str, np.ndarray], count: int) -> Scored:
    returns = {name: tuple(bot[name][picks[name][:count]]) for name in OPPONENTS}
    results = {name: OpponentReturn(float(np.mean(values)), 0.0, count) for name, values in returns.items()}
    return Scored(mean(returns), 0.0, results, returns=returns)


Chooser = Callable[[Table, list[str], np.random.Generator], tuple[str, int]]
"""Chooses a bot among those met in this order: its name, and the matches that it took."""


def all_play(count: int) -> Chooser:
    def choose(table: Table, order: list[str], rng: np.random.Generator) -> tuple[str, int]:
        picks = {name: rng.permutation(KNOWN)[:count] for name in OPPONENTS}
        best = max(order, key=lambda bot: evaluation(table[bot], picks, count).mean_return)
        return best, len(order) * count * len(OPPONENTS)

    return choose


def race(settings: CascadeSettings, common_seeds: bool = True) -> Chooser:
    plan = stages(MATCHES, settings)

    def choose(table: Table, order: list[str], rng: np.random.Generator) -> tuple[str, int]:
        shared = {name: rng.permutation(KNOWN)[:MATCHES] for name in OPPONENTS}
        best, leader, spent = order[0], evaluation(table[order[0]], shared, MATCHES), MATCHES
        for bot in order[1:]:
            picks = shared if common_seeds else {name: rng.permutation(KNOWN)[:MATCHES] for name in OPPONENTS}
            for count in plan:
                child = evaluation(table[bot], picks, count)
                if count < MATCHES and is_worse(child, leader, WEIGHTS, 1 - (1 - settings.confidence) / 2):
                    break
            spent += count
            if count == MATCHES and child.mean_return > leader.mean_return:
                best, leader = bot, child
        return best, spent * len(OPPONENTS)

    return choose


def run(table: Table, choose: Chooser) -> Result:
    truth = {bot: mean(returns) for bot, returns in table.items()}
    top = max(truth.values())
    matches, regret, correct = [], [], []
    for trial in range(TRIALS):
        rng = np.random.default_rng(trial)
        bot, spent = choose(table, list(rng.permutation(list(table))), rng)
        matches.append(spent)
        regret.append(top - truth[bot])
        correct.append(truth[bot] == top)
    return Result(float(np.mean(matches)), float(np.mean(regret)), float(np.mean(correct)))


def test_racing_saves_matches_at_equal_selection_error(table: Table) -> None:
    racing = CascadeSettings(racing=True)
    rows = {
        f"all play {MATCHES} per opponent": run(table, all_play(MATCHES)),
        "racing (8, 16, 32)": run(table, race(racing)),
        "racing (2, 8, 32)": run(table, race(CascadeSettings(racing=True, probe_matches=2))),
        "racing, seeds of their own": run(table, race(racing, common_seeds=False)),
        "all play 16 per opponent": run(table, all_play(16)),
        "all play 8 per opponent": run(table, all_play(8)),
    }
    print(f"\n{len(table)} bots against {', '.join(OPPONENTS)}; {TRIALS} trials, {ROUNDS} rounds a match")
    print(f"{'':32}{'matches':>10}{'regret':>10}{'best found':>12}")
    for name, row in rows.items():
        print(f"{name:32}{row.matches:10.0f}{row.regret:10.3f}{row.correct:12.1%}")
    whole, raced, *_ = rows.values()
    assert raced.matches < 0.6 * whole.matches
    assert raced.regret <= whole.regret + 0.5
