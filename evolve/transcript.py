"""Part of one match as text for a prompt: what the program saw, where actions do not say it all, and what it did.

Written by the referee's own record; a program's output never gets here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np

from games.core import ActionArray, Game, Observation
from games.seeds import episode_rng
from sandbox.referee import MatchRecord

_ROUNDS = 40
"""Rounds shown from each end of an action-history game's match."""
_FIRST_MOVES, _LAST_MOVES = 12, 6
_LONGEST_OBSERVATION = 400
"""Characters."""


def transcript(game: Game, record: MatchRecord, seat: int) -> str:
    """Both players' actions of an action-history game in two lines; else the seat's moves, one a line.

    In games of programs, both actions and what the program simulated."""
    if isinstance(record.actions, np.ndarray):
        mine, theirs = record.actions[:, seat], record.actions[:, 1 - seat]
        return f"its actions:      {_actions(mine)}\nopponent actions: {_actions(theirs)}"
    if record.program_sources:
        return _match_of_programs(record, seat)
    moves = [f"{_text(seen)} -> {action}" for seen, action in _moves(game, record, seat)]
    total = f"return of the match: {record.returns[seat]:+g}"
    left_out = len(moves) - _FIRST_MOVES - _LAST_MOVES
    if left_out > 0:
        moves = [*moves[:_FIRST_MOVES], f"... {left_out} moves left out ...", *moves[-_LAST_MOVES:]]
    return "\n".join(["what it saw -> its action", *moves, total])


def _match_of_programs(record: MatchRecord, seat: int) -> str:
    """Without what was seen: the program's text stands above, and the opponent's where it may be shown."""
    actions, use = dict(record.actions), record.simulations[seat]
    return (
        f"its action: {actions[seat]}\nopponent action: {actions[1 - seat]}\n"
        f"simulations it set going: {use.calls} run, {use.deepest} deep, {use.failed} of them failed; "
        f"{use.refused} more refused\nreturn of the match: {record.returns[seat]:+g}"
    )


def _moves(game: Game, record: MatchRecord, seat: int) -> Iterable[tuple[Observation, int]]:
    """The match once more from its seed: what the seat saw before each of its actions."""
    episode, log = game.new_episode(episode_rng(record.seed)), iter(record.actions)
    while pending := episode.pending():
        actions = dict(next(log) for _ in pending)
        if seat in actions:
            yield pending[seat], actions[seat]
        episode.step(actions)


def _text(observation: Observation) -> str:
    text = json.dumps(observation, separators=(",", ":"), default=str)
    return text if len(text) <= _LONGEST_OBSERVATION else f"{text[:_LONGEST_OBSERVATION]} ... (cut)"


def _actions(actions: ActionArray) -> str:
    if len(actions) <= 2 * _ROUNDS:
        return " ".join(map(str, actions))
    return f"{' '.join(map(str, actions[:_ROUNDS]))} ... {' '.join(map(str, actions[-_ROUNDS:]))}"
