"""A network in training: learns from trajectories, a minibatch of segments at a time, and can be put away as bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from evolve.reinforcement.network import (
    DISCOUNT,
    SEGMENT,
    Batch,
    Weights,
    initial_weights,
    optimizer,
    play_again,
    update,
)
from evolve.reinforcement.trajectories import Trajectory

_MINIBATCH = 32
"""Segments in one step of the optimizer, as in the IMPALA paper (table G.1)."""
_CHUNK = 5 * SEGMENT
"""Matches are padded to a multiple, so that few lengths are compiled for."""


class Learner:
    """Weights, the optimizer's state, and how much has been learnt from."""

    def __init__(self, num_features: int, num_actions: int, seed: int) -> None:
        key = jax.random.key(seed % 2**32)
        self._weights: Weights = initial_weights(key, num_features, num_actions)
        self._optimizing: Any = optimizer.init(self._weights)
        self.steps = 0
        self.matches = 0

    def weights(self) -> dict[str, NDArray[np.float32]]:
        return {name: np.asarray(value) for name, value in self._weights.items()}

    @property
    def match_length(self) -> float:
        """Mean number of own moves in a match so far."""
        return self.steps / self.matches

    # -- learning ----------------------------------------------------------------------------------------------------
    def learn(self, trajectories: Sequence[Trajectory], reward_scale: float, rng: np.random.Generator) -> None:
        """From matches that the present weights have just played, each segment once, in random order; rewards are
        divided by ``reward_scale``."""
        self.steps += sum(map(len, trajectories))
        self.matches += len(trajectories)
        segments = self._segments(trajectories, reward_scale)
        order = rng.permutation(np.flatnonzero(segments["valid"].any(axis=0)))
        for start in range(0, len(order), _MINIBATCH):
            picked = order[start : start + _MINIBATCH]
            filled = np.resize(picked, _MINIBATCH)  # of one size, or each is compiled for; what fills it does not count
            batch = {name: a[filled] if name in ("hidden", "cell") else a[:, filled] for name, a in segments.items()}
            batch["valid"] = batch["valid"] & (np.arange(_MINIBATCH) < len(picked))
            self._weights, self._optimizing = update(self._weights, self._optimizing, batch)

    def _segments(self, trajectories: Sequence[Trajectory], reward_scale: float) -> Batch:
        length = -(-max(map(len, trajectories)) // _CHUNK) * _CHUNK
        padded = [_padded(each, length) for each in trajectories]
        features, legal, actions, rewards, discounts, valid = map(np.array, zip(*padded, strict=True))
        by_time = np.swapaxes(features, 0, 1), np.swapaxes(legal, 0, 1), np.swapaxes(actions, 0, 1)
        log_probs, hiddens, cells = play_again(_as_played(self._weights), *by_time)
        following = np.concatenate((features[:, SEGMENT:], features[:, -SEGMENT:]), axis=1)[:, ::SEGMENT]
        own = _cut(features)
        ahead = following.reshape(1, -1, features.shape[-1])
        return {
            "features": np.concatenate((own, ahead)),
            "legal": _cut(legal),
            "actions": _cut(actions),
            "rewards": _cut(rewards / reward_scale).astype(np.float32),
            "discounts": _cut(discounts),
            "valid": _cut(valid),
            "log_probs": _cut(np.swapaxes(np.asarray(log_probs), 0, 1)),
            "hidden": np.swapaxes(np.asarray(hiddens), 0, 1)[:, ::SEGMENT].reshape(-1, hiddens.shape[-1]),
            "cell": np.swapaxes(np.asarray(cells), 0, 1)[:, ::SEGMENT].reshape(-1, cells.shape[-1]),
        }

    # -- putting away --------------------------------------------------------------------------------------------------
    def dump(self) -> bytes:
        file = io.BytesIO()
        leaves = jax.tree.leaves((self._weights, self._optimizing))
        np.savez(file, *map(np.asarray, leaves), counts=np.array([self.steps, self.matches]))
        return file.getvalue()

    def load(self, data: bytes) -> None:
        """What :meth:`dump` of a learner of the same sizes gave."""
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            like = (self._weights, self._optimizing)
            leaves = [jnp.asarray(stored[f"arr_{k}"]) for k in range(len(jax.tree.leaves(like)))]
            self.steps, self.matches = map(int, stored["counts"])
        self._weights, self._optimizing = jax.tree.unflatten(jax.tree.structure(like), leaves)


def _as_played(weights: Weights) -> Weights:
    """At the precision that the program has."""
    return {name: value.astype(jnp.float16).astype(jnp.float32) for name, value in weights.items()}


def _padded(each: Trajectory, length: int) -> tuple[NDArray[Any], ...]:
    """To ``length`` moves; what is legal after the end is everything, so that no row is without a policy."""
    missing = length - len(each)
    discounts = np.full(length, DISCOUNT, np.float32)
    discounts[len(each) - 1 :] = 0.0
    return (
        np.pad(each.features, ((0, missing), (0, 0))),
        np.pad(each.legal, ((0, missing), (0, 0)), constant_values=True),
        np.pad(each.actions, (0, missing)),
        np.pad(each.rewards, (0, missing)),
        discounts,
        np.arange(length) < len(each),
    )


def _cut(rows: NDArray[Any]) -> NDArray[Any]:
    """(B, T, ...) into (SEGMENT, B * T / SEGMENT, ...)."""
    segments = rows.reshape(-1, SEGMENT, *rows.shape[2:])
    return np.swapaxes(segments, 0, 1)
