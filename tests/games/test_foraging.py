from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from games import foraging_helpers as helpers
from games.core import Move, Observation
from games.foraging import PAPER_TASK, TASKS, ForagingGame, ForagingSummary, foraging
from games.foraging_core import LOAD, ForagingTask
from games.match import record_match
from games.registry import make_game
from games.seeds import match_seed


def summary_of(game: ForagingGame, name: str, matches: int) -> ForagingSummary:
    policy = game.reference_population()[name]
    logs = [record_match(game, [policy] * game.task.num_players, match_seed(0, i)) for i in range(matches)]
    returns = np.array([log.returns for log in logs])
    return game.summary(returns, [len(log.actions) * game.task.num_players for log in logs])


# --- the game --------------------------------------------------------------------------------------------------------
def test_names_and_parameters() -> None:
    assert make_game("foraging").spec.name == PAPER_TASK
    assert make_game("foraging:6x6-2p-1f-coop").spec.name == "Foraging-6x6-2p-1f-coop-v3"
    assert make_game(PAPER_TASK, time_penalty=2.06).spec.return_range == (-2.06, 1.0)


@pytest.mark.parametrize(
    "parameters", [{"time_penalty": -1}, {"time_penalty": True}, {"engine": "gym"}, {"max_steps": 0}]
)
def test_bad_parameters_are_told(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        make_game(PAPER_TASK, **parameters)


@pytest.mark.parametrize("time_penalty", [0.0, 1.0, 2.06])
def test_everyone_pays_for_every_step_once_at_the_end(time_penalty: float) -> None:
    game = foraging(PAPER_TASK, time_penalty=time_penalty)
    together = game.reference_population()["together"]
    episode = game.new_episode(np.random.default_rng(3))
    players = [together(seat, 0) for seat in (0, 1)]
    rewards = 0.0
    steps = 0
    while pending := episode.pending():
        rewards = episode.returns().sum()
        assert rewards >= 0
        episode.step({seat: players[seat].act(seen) for seat, seen in pending.items()})  # type: ignore[misc]
        steps += 1
    assert rewards < 1
    assert episode.returns().sum() == pytest.approx(1 - 2 * time_penalty * steps / 50)


def test_the_history_is_that_of_both_players_and_of_player_0() -> None:
    game = foraging(PAPER_TASK)
    episode = game.new_episode(np.random.default_rng(0))
    before = copy.deepcopy(episode.pending())
    episode.step({0: 5, 1: 3})
    after = episode.pending()
    for seat in (0, 1):
        assert before[seat] == {**before[0], "player": seat}
        assert after[seat]["action"] == [[5, 3]]
        states: Any = after[seat]["state"]
        assert states[0] == before[0]["state"][0]  # type: ignore[index]
        assert len(states) == 2 and len(states[1]) == 12
    state: Any = before[0]["state"]
    levels = state[0][8], state[0][11]
    assert state[0][2] in (0, sum(levels))


def test_both_engines_play_the_same_match() -> None:
    for seed in range(20):
        logs = []
        for engine in ("core", "lbforaging"):
            game = make_game("Foraging-10x10-3p-3f-v3", engine=engine)
            logs.append(record_match(game, [game.reference_population()["together"]] * 3, seed))
        assert logs[0].actions == logs[1].actions
        assert np.array_equal(logs[0].returns, logs[1].returns)


def test_a_match_that_is_over_takes_no_more_steps() -> None:
    episode = foraging(PAPER_TASK, max_steps=1).new_episode(np.random.default_rng(0))
    episode.step({0: 0, 1: 0})
    assert not episode.pending()
    with pytest.raises(ValueError, match="over"):
        episode.step({0: 0, 1: 0})


# --- figures and reference policies ----------------------------------------------------------------------------------
def test_reference_policies_in_order_of_skill() -> None:
    game = foraging(PAPER_TASK)
    figures = {name: summary_of(game, name, 150) for name in game.reference_population()}
    assert list(figures) == ["random", "nearest", "together", "planner"]
    welfare = [figure.social_welfare for figure in figures.values()]
    assert welfare == sorted(welfare)
    assert figures["random"].mean_steps > 49
    assert 0.2 < figures["nearest"].completion_rate < 0.7
    assert figures["together"].completion_rate == figures["planner"].completion_rate == 1.0
    assert figures["planner"].social_welfare == pytest.approx(0.784, abs=0.03)
    assert figures["planner"].efficiency == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize(("name", "longest"), [*zip(TASKS, (8, 13, 22, 42), strict=True)])
def test_going_together_empties_every_board(name: str, longest: float) -> None:
    game = foraging(name)
    figures = summary_of(game, "together", 12)
    assert figures.completion_rate == 1.0
    assert figures.mean_steps < longest
    assert (figures.efficiency is None) == (game.task.num_players > 2)


def test_going_together_with_more_players_than_a_food_has_sides() -> None:
    assert summary_of(ForagingGame(ForagingTask(8, 6, 2, cooperative=True)), "together", 12).completion_rate == 1.0


def test_a_summary_by_hand() -> None:
    game = foraging(PAPER_TASK)
    found = game.summary(np.array([[0.6 - 0.1, 0.4 - 0.1], [0.3 - 1.0, 0.2 - 1.0]]), [10, 100])
    assert found.matches == 2
    assert found.mean_steps == 27.5
    assert found.completion_rate == 0.5
    assert found.collected == pytest.approx(0.75)
    assert found.social_welfare == pytest.approx((0.8 - 1.5) / 2)
    assert found.efficiency == pytest.approx(5.40877 / 27.5, abs=1e-5)
    with pytest.raises(ValueError, match="same matches"):
        game.summary(np.zeros((2, 2)), [10])


# --- what policies may call ------------------------------------------------------------------------------------------
STATE = [1, 2, 3, -1, -1, 0, 0, 2, 1, 1, 1, 2]


def test_parse_grid_state() -> None:
    parsed = helpers.parse_grid_state([float(value) for value in STATE])
    assert parsed["foods"] == [
        {"x": 1, "y": 2, "level": 3, "alive": True},
        {"x": -1, "y": -1, "level": 0, "alive": False},
    ]
    assert parsed["agents"] == [{"x": 0, "y": 2, "level": 1}, {"x": 1, "y": 1, "level": 2}]
    assert len(helpers.parse_grid_state([0] * 27, num_agents=4)["foods"]) == 5


@pytest.mark.parametrize(("state", "agents"), [([0] * 11, 2), ([0] * 6, 3)])
def test_a_state_of_another_shape_is_told(state: list[float], agents: int) -> None:
    with pytest.raises(ValueError, match="3 numbers for each food"):
        helpers.parse_grid_state(state, agents)


def test_adjacent_cells_share_a_side() -> None:
    beside = [(x, y) for x in range(4) for y in range(4) if helpers.is_adjacent((1, 2), (x, y))]
    assert beside == [(0, 2), (1, 1), (1, 3), (2, 2)]


def test_joint_loading() -> None:
    parsed = helpers.parse_grid_state(STATE)
    first, second = parsed["agents"]
    can = helpers.can_joint_load_any_food_two_agents
    assert can(first, second, parsed["foods"]) == {"can": True, "food_index": 0, "food": parsed["foods"][0]}
    assert not can({**first, "y": 3}, second, parsed["foods"])["can"]
    assert not can(first, second, [{**parsed["foods"][0], "level": 4}])["can"]
    assert not can(first, second, [{**parsed["foods"][0], "alive": False}])["can"]


def test_occupied_cells_and_valid_moves() -> None:
    parsed = helpers.parse_grid_state(STATE)
    foods, (first, second) = parsed["foods"], parsed["agents"]
    assert helpers.build_occupied_positions(foods, [first, second]) == {(1, 2), (0, 2), (1, 1)}
    assert helpers.build_occupied_positions(foods, [first, second], exclude_agent_idx=0) == {(1, 2), (1, 1)}
    assert helpers.get_valid_moves(first, foods, second, 5, 5, include_load=False) == [3, 4]
    assert helpers.get_valid_moves(second, foods, first, 5, 5) == [1, 2, 3, LOAD]


HELPED = '''
def policy(history):
    """Written the way the paper's policies are: helpers without import, x for rows, six probabilities."""
    parsed = parse_grid_state(history["state"][-1])
    foods = [food for food in parsed["foods"] if food.get("alive", True)]
    seat = history["player"]
    me, other = parsed["agents"][seat], parsed["agents"][1 - seat]
    probabilities = [0.0] * 6
    if can_joint_load_any_food_two_agents(*parsed["agents"], foods).get("can", False):
        probabilities[5] = 1.0
        return probabilities
    def apart(food):
        return sum(abs(a["x"] - food["x"]) + abs(a["y"] - food["y"]) for a in (me, other))
    target = min(foods, key=apart)
    moves = get_valid_moves(me, foods, other, 5, 5, include_load=False)
    occupied = build_occupied_positions(foods, parsed["agents"], exclude_agent_idx=seat)
    if not moves or is_adjacent((me["x"], me["y"]), (target["x"], target["y"])):
        probabilities[0] = 1.0
        return probabilities
    steps = {1: (-1, 0), 2: (1, 0), 3: (0, -1), 4: (0, 1)}
    cells = {a: (me["x"] + steps[a][0], me["y"] + steps[a][1]) for a in moves}
    assert not occupied & set(cells.values())
    nearer = {a: abs(c[0] - target["x"]) + abs(c[1] - target["y"]) for a, c in cells.items()}
    good = [a for a in moves if nearer[a] == min(nearer.values())]
    for a in moves:
        probabilities[a] += 0.1 / len(moves) + (0.9 / len(good) if a in good else 0.0)
    return probabilities
'''


def test_code_in_the_papers_style_runs_on_the_helpers() -> None:
    namespace: dict[str, Any] = dict(helpers.HELPERS)
    exec(HELPED, namespace)

    class Helped:
        def __init__(self, player: int, seed: int) -> None:
            pass

        def act(self, observation: Observation) -> Move:
            move: Move = namespace["policy"](observation)
            return move

    game = foraging(PAPER_TASK)
    logs = [record_match(game, [Helped, Helped], match_seed(2, i)) for i in range(60)]
    found = game.summary(np.array([log.returns for log in logs]), [2 * len(log.actions) for log in logs])
    assert found.completion_rate > 0.9
    assert found.social_welfare > 0


def test_the_brief_says_what_the_game_and_the_helpers_are() -> None:
    for name in TASKS:
        game = foraging(name, time_penalty=0.5)
        brief = game.brief
        assert f"{game.task.size}x{game.task.size}" in brief.rules and "0.5 * T / 50" in brief.rules
        assert all(f"{helper}(" in brief.policy_api for helper in helpers.HELPERS)
        seen: list[Mapping[str, Any]] = list(brief.smoke_observations)
        assert [len(observation["action"]) for observation in seen] == [0, 1, 2, 3]
