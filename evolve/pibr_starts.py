"""InitialPolicy() of PIBR's Algorithm 1: the profiles that a run starts from, so that robustness can be measured."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from evolve.mutation import BLOCK_END, BLOCK_START
from evolve.program import Program
from games.core import Game
from games.matrix import MatrixGame
from games.program_game import ProgramGame

Initial = Literal["seed", "pure"]
"""``seed``: all players begin with the game's seed program. ``pure``: each with a program that plays one action for
ever, start by start through all joint actions in lexicographic order."""

_PURE = f'''\
def policy(observation):
    """Plays action {{action}}, whatever it sees."""
    {BLOCK_START}
    action = {{action}}
    {BLOCK_END}
    return action
'''


def pure_program(action: int) -> Program:
    """The program that plays ``action`` for ever."""
    return Program(_PURE.format(action=action))


def joint_actions(game: Game) -> list[tuple[int, ...]]:
    """All pure profiles of a game, in lexicographic order."""
    return list(itertools.product(*(range(number) for number in action_counts(game))))


def initial_profiles(game: Game, initial: Initial, starts: int) -> list[tuple[Program, ...]]:
    """One profile a start. Raises ``ValueError`` if the game has fewer pure profiles than ``starts``."""
    if initial == "seed":
        return [(Program(game.brief.seed_program),) * game.spec.num_players] * starts
    counts = action_counts(game)
    available = 1
    for number in counts:
        available *= number
    if starts > available:
        raise ValueError(f"{game.spec.name} has {available} pure profiles, too few for {starts} starts")
    return [tuple(map(pure_program, joint)) for joint in itertools.islice(_product(counts), starts)]


def _product(counts: Sequence[int]) -> itertools.product[tuple[int, ...]]:
    return itertools.product(*map(range, counts))


def action_counts(game: Game) -> tuple[int, ...]:
    """Each player's number of actions."""
    matrix = game.matrix if isinstance(game, ProgramGame) else game
    if isinstance(matrix, MatrixGame):
        return (int(matrix.row.shape[0]), int(matrix.row.shape[1]))
    return (game.spec.num_actions,) * game.spec.num_players
