"""Q-learning and contextual regret matching: by hand, in self-play, and against players with a known best reply."""

from __future__ import annotations

import numpy as np
import pytest

from evolve.baselines.q_learning import GreedyPolicy, QLearningSettings
from evolve.baselines.q_learning import trained as trained_values
from evolve.baselines.registry import baseline_policies
from evolve.baselines.regret_matching import OnlineRegretMatching, Regrets, trained
from evolve.baselines.repeated_games import context_of, stage_payoffs
from evolve.population_metrics import population_metrics
from games.core import Policy, PolicyFactory
from games.match import play_match
from games.registry import make_game
from games.repeated_rps import RepeatedRPS

GAME = RepeatedRPS(200)
PAYOFFS = ((0.0, -1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 1.0, 0.0))


def mean_return(player: PolicyFactory, bot: str, matches: int = 8) -> float:
    opponent = GAME.reference_population()[bot]
    return float(np.mean([play_match(GAME, [player, opponent], seed)[0] for seed in range(matches)]))


def named(name: str) -> PolicyFactory:
    return baseline_policies(GAME)[name]


def test_the_stage_is_read_off_the_game() -> None:
    assert stage_payoffs(GAME) == PAYOFFS
    assert stage_payoffs(make_game("kuhn")) is None  # it has no stage
    assert baseline_policies(make_game("repeated_leduc")) == {}


def test_a_context_is_the_last_joint_actions_own_first() -> None:
    assert context_of([0, 1, 2], [2, 2, 1], 2) == (1, 2, 2, 1)
    assert context_of([0], [2], 2) == (0, 2)
    assert context_of([0, 1], [1, 1], 0) == ()


def test_regrets_by_hand() -> None:
    learner = Regrets(PAYOFFS)
    assert learner.mixture((0, 0)) == pytest.approx([1 / 3] * 3)
    learner.learn((0, 0), 0)  # against rock: rock 0, paper 1, scissors -1; expected 0
    assert learner.by_context[0, 0] == [0.0, 1.0, 0.0]
    assert learner.mixture((0, 0)) == [0.0, 1.0, 0.0]
    learner.learn((0, 0), 2)  # against scissors paper earns -1, rock 1, scissors 0: gains 2, 0, 1
    assert learner.by_context[0, 0] == [2.0, 1.0, 1.0]
    assert learner.mixture((1, 1)) == pytest.approx([1 / 3] * 3)  # another context knows nothing of it


@pytest.mark.parametrize(("recall", "least"), [(0, 190), (1, 185)])
def test_regret_matching_learns_to_beat_a_constant_player(recall: int, least: int) -> None:
    assert mean_return(named(f"regret_matching-{recall}"), "rockbot") > least


def test_a_cycle_is_beaten_only_with_recall() -> None:
    """rotatebot plays 0, 1, 2 in turn: without a context its throws are all equally frequent."""
    assert abs(mean_return(named("regret_matching-0"), "rotatebot")) < 100
    assert mean_return(named("regret_matching-1"), "rotatebot") > 170


def test_a_policy_learns_anew_in_each_match() -> None:
    factory = named("regret_matching-1")
    first, second = factory(0, 1), factory(0, 1)
    assert isinstance(first, OnlineRegretMatching)
    ask(first, [0], [0])
    assert ask(first, [0, 0], [0, 0]) != ask(second, [], [])


def ask(policy: Policy, mine: list[int], theirs: list[int]) -> object:
    return policy.act({"my_actions": mine, "opponent_actions": theirs})


def test_self_play_comes_close_to_uniform_play_and_is_reproducible() -> None:
    found = trained(PAYOFFS, 1, rounds=20_000, seed=3)
    assert found == trained.__wrapped__(PAYOFFS, 1, rounds=20_000, seed=3)
    assert len(found) == 10  # nine contexts and the start
    often = [mixture for context, mixture in found.items() if context]
    assert max(abs(p - 1 / 3) for mixture in often for p in mixture) < 0.05


def test_q_values_where_only_the_own_action_counts() -> None:
    """Action 1 earns 1, action 0 nothing. With discount 1/2 the best play is worth 1 + 1/2 + ... = 2 in any state."""
    settings = QLearningSettings(recall=1, rounds=20_000, step_size=0.1, discount=0.5)
    values = trained_values(((0.0, 0.0), (1.0, 1.0)), settings)
    assert len(values) == 5
    for state, row in values.items():
        if state:
            assert row == pytest.approx([1.0, 2.0], abs=1e-6)


def test_q_learning_is_greedy_where_it_knows_and_uniform_where_it_does_not() -> None:
    settings = QLearningSettings(recall=1, rounds=2_000)
    policy, values = GreedyPolicy(PAYOFFS, settings, 0, 0), trained_values(PAYOFFS, settings)
    row = values[0, 0]
    assert ask(policy, [0], [0]) == [float(value == max(row)) for value in row]
    unseen = GreedyPolicy(PAYOFFS, QLearningSettings(recall=10, rounds=10), 0, 0)
    assert ask(unseen, [0] * 10, [0] * 10) == pytest.approx([1 / 3] * 3)


@pytest.mark.slow
@pytest.mark.parametrize(("recall", "pop_return"), [(0, 60.0), (1, 165.6), (2, 189.0)])
def test_learning_online_reproduces_what_was_measured_against_the_43_bots(recall: int, pop_return: float) -> None:
    """PopReturn of contextual regret matching that learns online, measured with another implementation of it."""
    game = RepeatedRPS()
    player = baseline_policies(game)[f"regret_matching-{recall}"]
    bots = game.reference_population().items()
    found = population_metrics({name: [play_match(game, [player, bot], s)[0] for s in (1, 2)] for name, bot in bots})
    assert abs(found.pop_return.value - pop_return) < 4 * found.pop_return.stderr + 1


def test_names_do_not_shadow_the_population() -> None:
    assert not baseline_policies(GAME).keys() & GAME.reference_population().keys()
    assert {"q_learning-10", "regret_matching-1", "regret_matching-selfplay-1"} <= baseline_policies(GAME).keys()
