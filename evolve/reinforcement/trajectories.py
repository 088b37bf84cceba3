"""From matches that were played to what a learner learns from: each own move with what was seen, and its reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from evolve.reinforcement.features import Features
from games.core import FloatArray, Game
from games.seeds import episode_rng
from sandbox.lockstep import MatchRecord


@dataclass(frozen=True)
class Trajectory:
    """One seat of one match of T own moves.

    ``features`` has shape (T, F), ``legal`` (T, num_actions), ``actions`` and ``rewards`` (T,). The reward of a move is
    what the player's return grew by until its next move, or the end."""

    features: NDArray[np.float32]
    legal: NDArray[np.bool_]
    actions: NDArray[np.int32]
    rewards: FloatArray

    def __len__(self) -> int:
        return len(self.actions)


def trajectory(game: Game, record: MatchRecord, seat: int, features: Features) -> Trajectory:
    """The match of ``record`` again by the rules, as ``seat`` saw it. Its return is the sum of the rewards."""
    num_actions = game.spec.num_actions
    episode = game.new_episode(episode_rng(record.seed))
    seen: list[list[float]] = []
    legal: list[list[bool]] = []
    actions: list[int] = []
    returns: list[float] = []  # before each own move
    log = iter(_moves(record))
    while pending := episode.pending():
        chosen = dict(islice(log, len(pending)))
        if seat in pending:
            observation = pending[seat]
            returns.append(float(episode.returns()[seat]))
            seen.append(features(observation, num_actions))
            allowed: Sequence[int] = observation.get("legal_actions", range(num_actions))  # type: ignore[assignment]
            legal.append([action in allowed for action in range(num_actions)])
            actions.append(chosen[seat])
        episode.step(chosen)
    returns.append(float(episode.returns()[seat]))
    return Trajectory(
        np.array(seen, np.float32), np.array(legal, bool), np.array(actions, np.int32), np.diff(np.array(returns))
    )


def _moves(record: MatchRecord) -> Sequence[tuple[int, int]]:
    if isinstance(record.actions, list):
        return record.actions
    return [(seat, action) for joint in record.actions.tolist() for seat, action in enumerate(joint)]
