"""What games beyond repeated ones need of the sandbox: helper names, and sources in view."""

from __future__ import annotations

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
MIRROR = """
def policy(observation):
    return 0 if observation["opponent_source"] == observation["my_source"] else 1
"""


def test_foraging_helpers_are_there_and_functions_may_be_named_as_in_the_paper() -> None:
    with Referee() as referee:
        outcomes = referee.play(make_game("foraging"), [LISTING, LISTING], seeds=[1, 2])
    assert not [o for o in outcomes if isinstance(o, Fault)], outcomes


def test_programs_see_each_others_source() -> None:
    game = make_game("program_pd")
    other = MIRROR + "\n# not the same text\n"
    with Referee() as referee:
        (same,) = referee.play(game, [MIRROR, MIRROR], seeds=[1])
        (different,) = referee.play(game, [MIRROR, other], seeds=[1])
    assert not isinstance(same, Fault)
    assert not isinstance(different, Fault)
    assert same.returns != different.returns
