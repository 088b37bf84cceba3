"""The network and its training in JAX: a long short-term memory that is actor and critic, and V-trace.

Espeholt et al. 2018, IMPALA (arXiv:1802.01561): the sections say which. Matches are cut into segments of
:data:`SEGMENT` moves, each of which starts in the state that the playing network had there; the learner has moved on
since, and V-trace corrects for it. The gates are of ``tanh`` alone, sigmoid(2x) = (1 + tanh x) / 2, because the program
that the network becomes then needs a single call for all of them. Discount, entropy cost and learning
rate are our own, found on short trainings against opponents that adapt: the CSRO paper's are not known.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from evolve.reinforcement.core import UNITS

SEGMENT = 20
"""Moves in one segment, as in the paper (appendix, table G.1)."""

DISCOUNT = 0.9
_VALUE_COST = 0.5
_ENTROPY_COST = 0.03
_LEARNING_RATE = 3e-3
_CLIPPED_NORM = 40.0
_IMPOSSIBLE = -1e9

Weights = dict[str, Array]
State = tuple[Array, Array]
"""Hidden and cell state, each of shape (B, UNITS)."""

Batch = dict[str, Any]
"""Segments of S matches: ``features`` (SEGMENT + 1, S, F), the last row being where the value is bootstrapped;
``legal`` (SEGMENT, S, A); ``actions``, ``rewards``, ``log_probs`` of the playing network, ``discounts`` (0 after a
match's last move) and ``valid`` (SEGMENT, S); ``hidden`` and ``cell`` (S, UNITS), the state at the start."""

optimizer = optax.chain(optax.clip_by_global_norm(_CLIPPED_NORM), optax.adam(_LEARNING_RATE))


def initial_weights(key: Array, num_features: int, num_actions: int) -> Weights:
    """``kernel`` (F + UNITS, 4 UNITS) with the columns of input, forget and output gate and candidate, ``bias``;
    ``head`` (UNITS, num_actions + 1), the last column being the value, ``head_bias``."""
    first, second = jax.random.split(key)
    width = num_features + UNITS
    bias = jnp.zeros(4 * UNITS).at[UNITS : 2 * UNITS].set(0.5)  # remember at first
    return {
        "kernel": jax.random.normal(first, (width, 4 * UNITS)) / np.sqrt(width) * 0.7,
        "bias": bias,
        "head": jax.random.normal(second, (UNITS, num_actions + 1)) * 0.01,
        "head_bias": jnp.zeros(num_actions + 1),
    }


def unroll(weights: Weights, features: Array, state: State) -> tuple[Array, Array, Array, Array]:
    """Over ``features`` (T, B, F): logits (T, B, A), values (T, B), and the states before each move (T, B, UNITS)."""

    def step(carry: State, seen: Array) -> tuple[State, tuple[Array, Array, Array]]:
        hidden, cell = carry
        gates = jnp.tanh(jnp.concatenate((seen, hidden), axis=-1) @ weights["kernel"] + weights["bias"])
        opened = 0.5 + 0.5 * gates[:, : 3 * UNITS]
        new_cell = opened[:, UNITS : 2 * UNITS] * cell + opened[:, :UNITS] * gates[:, 3 * UNITS :]
        new_hidden = opened[:, 2 * UNITS :] * jnp.tanh(new_cell)
        return (new_hidden, new_cell), (new_hidden, hidden, cell)

    _, (outputs, hiddens, cells) = lax.scan(step, state, features)
    head = outputs @ weights["head"] + weights["head_bias"]
    return head[..., :-1], head[..., -1], hiddens, cells


def log_policy(logits: Array, legal: Array) -> Array:
    return jax.nn.log_softmax(jnp.where(legal, logits, _IMPOSSIBLE))


def chosen(log_probs: Array, actions: Array) -> Array:
    """Of the actions that were played."""
    return jnp.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]


@jax.jit
def play_again(weights: Weights, features: Array, legal: Array, actions: Array) -> tuple[Array, Array, Array]:
    """Whole matches (T, B, F) as the network played them: the log-probability of each action, and the states before."""
    start = jnp.zeros((features.shape[1], UNITS))
    logits, _, hiddens, cells = unroll(weights, features, (start, start))
    return chosen(log_policy(logits, legal), actions), hiddens, cells


def vtrace(log_ratios: Array, rewards: Array, discounts: Array, values: Array) -> tuple[Array, Array]:
    """Targets of the values and advantages of the policy (section 4.1), both of shape (T, S).

    ``log_ratios`` are those of the learner's to the player's probabilities; ``values`` (T + 1, S) ends with the value
    that the segment is bootstrapped from. Both clips are at 1."""
    ratios = jnp.minimum(1.0, jnp.exp(log_ratios))
    errors = ratios * (rewards + discounts * values[1:] - values[:-1])

    def back(ahead: Array, row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        error, discount, ratio = row
        correction = error + discount * ratio * ahead
        return correction, correction

    _, corrections = lax.scan(back, jnp.zeros_like(values[0]), (errors, discounts, ratios), reverse=True)
    targets = values[:-1] + corrections
    following = jnp.concatenate((targets[1:], values[-1:]))
    return targets, ratios * (rewards + discounts * following - values[:-1])


def loss(weights: Weights, batch: Batch) -> Array:
    """Policy gradient, value error and entropy (section 4.2), per valid move."""
    logits, values, _, _ = unroll(weights, batch["features"], (batch["hidden"], batch["cell"]))
    log_probs = log_policy(logits[:-1], batch["legal"])
    played = chosen(log_probs, batch["actions"])
    valid = batch["valid"]
    log_ratios = jnp.where(valid, lax.stop_gradient(played) - batch["log_probs"], 0.0)
    targets, advantages = vtrace(log_ratios, batch["rewards"], batch["discounts"], lax.stop_gradient(values))
    policy = -played * advantages
    value = 0.5 * (targets - values[:-1]) ** 2
    entropy = -jnp.sum(jnp.where(batch["legal"], jnp.exp(log_probs) * log_probs, 0.0), axis=-1)
    each = policy + _VALUE_COST * value - _ENTROPY_COST * entropy
    return jnp.sum(jnp.where(valid, each, 0.0)) / jnp.maximum(1, jnp.sum(valid))


@partial(jax.jit, donate_argnums=(0, 1))
def update(weights: Weights, optimizing: Any, batch: Batch) -> tuple[Weights, Any]:
    """One step of the optimizer."""
    gradients = jax.grad(loss)(weights, batch)
    changes, optimizing = optimizer.update(gradients, optimizing, weights)
    return optax.apply_updates(weights, changes), optimizing
