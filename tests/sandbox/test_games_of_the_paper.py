"""What games beyond repeated ones need of the sandbox: helper names, and sources in view."""

from __future__ import annotations

import numpy as np

from games.foraging import ForagingGame
from games.registry import make_game
from sandbox.faults import Fault
from sandbox.referee import Referee

LISTING = """
def history_dependent_policy_0(history):
    state = parse_grid_state(history["state"][-1])
    return [0.0, 0.2, 0.2, 0.2, 0.2, 0.2] if state["foods"] else [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]

def history_dependent_policy_1(history):
    return history_dependent_policy_0(history)
"""
STYLE = """
from typing import Dict, List, Optional, TypedDict, Union
import math, random

class GridWorldHistory(TypedDict):
    state: List[List[Union[int, float]]]
    action: List[List[Optional[int]]]

def history_dependent_policy_ME(game_history: GridWorldHistory) -> List[float]:
    # Meets the partner at the food that both reach soonest; now and then a step aside, against standstills.
    last_state = game_history['state'][-1]
    turn = len(game_history['action'])
    parsed = parse_grid_state(last_state)
    foods = [f for f in parsed['foods'] if f.get('alive', True)]
    agents = parsed['agents']
    me, other = agents[ME], agents[OTHER]
    if turn == 0:
        random.seed(hash(tuple(last_state)))
    if not foods:
        return [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    if can_joint_load_any_food_two_agents(me, other, foods).get('can', False):
        return [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]

    def far(agent, food):
        return abs(agent['x'] - food['x']) + abs(agent['y'] - food['y'])

    approached: Dict[int, int] = {k: 0 for k in range(len(foods))}
    for t in range(max(0, turn - 3), turn):
        if game_history['action'][t][OTHER] in (1, 2, 3, 4):
            before = parse_grid_state(game_history['state'][t])['agents'][OTHER]
            after = parse_grid_state(game_history['state'][t + 1])['agents'][OTHER]
            for k, f in enumerate(foods):
                approached[k] += far(after, f) < far(before, f)
    costs = [far(me, f) + far(other, f) - 0.1 * approached[k] for k, f in enumerate(foods)]
    weights = [math.exp(-4.0 * (c - min(costs))) for c in costs]
    target = foods[weights.index(max(weights))]
    if is_adjacent((me['x'], me['y']), (target['x'], target['y'])) and turn < 40:
        return [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    moves = get_valid_moves(me, foods, other, 5, 5, include_load=False)
    occupied = build_occupied_positions(foods, agents, exclude_agent_idx=ME)
    step = {1: (-1, 0), 2: (1, 0), 3: (0, -1), 4: (0, 1)}
    cells = {a: (me['x'] + step[a][0], me['y'] + step[a][1]) for a in moves}
    free = [a for a in moves if cells[a] not in occupied]
    if not free:
        return [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    ahead = {a: abs(cells[a][0] - target['x']) + abs(cells[a][1] - target['y']) for a in free}
    best = [a for a in free if ahead[a] == min(ahead.values())]
    choice = random.choice(best)
    epsilon = 0.15
    probs = [0.0] * 6
    for a in free:
        probs[a] = epsilon / len(free) + (1 - epsilon) * (a == choice)
    return probs
"""
"""A program for one seat in the manner of the paper's listings: typed histories, module-level imports on one line, a
generator seeded at the first step, the partner's moves read off the history, helpers without import."""
MIRROR = """
def policy(observation):
    return 0 if observation["opponent_source"] == observation["my_source"] else 1
"""


def test_foraging_helpers_are_there_and_functions_may_be_named_as_in_the_paper() -> None:
    with Referee() as referee:
        outcomes = referee.play(make_game("foraging"), [LISTING, LISTING], seeds=[1, 2])
    assert not [o for o in outcomes if isinstance(o, Fault)], outcomes


def test_programs_in_the_papers_style_run_as_they_stand_in_their_own_seats() -> None:
    game = make_game("foraging")
    programs = [STYLE.replace("OTHER", str(1 - seat)).replace("ME", str(seat)) for seat in (0, 1)]
    with Referee() as referee:
        outcomes = referee.play(game, programs, seeds=range(40))
        assert [referee.check(game, program, seat).outcome for seat, program in enumerate(programs)] == ["ok", "ok"]
        wrong = referee.check(game, programs[1], 0)
    records = [o for o in outcomes if not isinstance(o, Fault)]
    assert len(records) == 40, outcomes
    assert isinstance(game, ForagingGame)
    found = game.summary(np.array([r.returns for r in records]), [r.num_moves for r in records])
    assert found.completion_rate == 1 and found.mean_steps < 15
    assert wrong.outcome == "runtime_error"
    assert "defines history_dependent_policy_1 and sits in seat 0" in wrong.detail + wrong.traceback


def test_programs_see_each_others_source() -> None:
    game = make_game("program_pd")
    other = MIRROR + "\n# not the same text\n"
    with Referee() as referee:
        (same,) = referee.play(game, [MIRROR, MIRROR], seeds=[1])
        (different,) = referee.play(game, [MIRROR, other], seeds=[1])
    assert not isinstance(same, Fault)
    assert not isinstance(different, Fault)
    assert same.returns != different.returns
