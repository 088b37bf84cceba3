"""The network: V-trace against its definition, the program against the network, learning, and putting away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest

from evolve.reinforcement.core import UNITS
from evolve.reinforcement.features import features_of
from evolve.reinforcement.learner import Learner
from evolve.reinforcement.network import SEGMENT, chosen, initial_weights, log_policy, play_again, unroll, vtrace
from evolve.reinforcement.program import policy_program
from evolve.reinforcement.trajectories import Trajectory
from games.core import ActionHistory
from games.registry import make_game


def targets_by_definition(
    ratios: np.ndarray, rewards: np.ndarray, discounts: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Equation 1 of Espeholt et al. 2018, term by term, for one segment."""
    clipped = np.minimum(1.0, ratios)
    errors = clipped * (rewards + discounts * values[1:] - values[:-1])
    targets = []
    for start in range(len(rewards)):
        total = values[start]
        for t in range(start, len(rewards)):
            total += np.prod(discounts[start:t]) * np.prod(clipped[start:t]) * errors[t]
        targets.append(total)
    return np.array(targets)


def test_vtrace_is_its_definition() -> None:
    rng = np.random.default_rng(1)
    rewards, values = rng.normal(size=7), rng.normal(size=8)
    ratios, discounts = rng.uniform(0.2, 2, 7), np.array([0.9, 0.9, 0.9, 0.0, 0.9, 0.9, 0.9])
    column = (np.log(ratios)[:, None], rewards[:, None], discounts[:, None], values[:, None])
    targets, advantages = (np.asarray(part)[:, 0] for part in vtrace(*column))
    expected = targets_by_definition(ratios, rewards, discounts, values)
    assert targets == pytest.approx(expected, abs=1e-5)
    following = np.append(expected[1:], values[-1])
    assert advantages == pytest.approx(
        np.minimum(1, ratios) * (rewards + discounts * following - values[:-1]), abs=1e-5
    )


def test_on_its_own_moves_vtrace_gives_the_discounted_return() -> None:
    rewards, discounts = np.array([[1.0], [0.0], [2.0]]), np.array([[0.9], [0.9], [0.0]])
    targets, _ = vtrace(np.zeros((3, 1)), rewards, discounts, np.array([[5.0], [-3.0], [0.5], [7.0]]))
    assert np.asarray(targets)[:, 0] == pytest.approx([1 + 0.81 * 2, 0.9 * 2, 2.0], abs=1e-5)


class _Spy:
    """In place of a program's generator: keeps what it would have drawn from."""

    def __init__(self, actions: list[int]) -> None:
        self.actions = iter(actions)
        self.weights: list[list[float]] = []

    def choices(self, legal: Any, weights: list[float]) -> list[int]:
        self.weights.append([weight / sum(weights) for weight in weights])
        return [next(self.actions)]


def test_the_program_plays_the_network() -> None:
    game = make_game("repeated_rps", num_rounds=30)
    features = features_of(game)
    assert features is not None
    weights = {name: np.asarray(v) for name, v in initial_weights(jax.random.key(3), 6, 3).items()}
    weights["head"] = weights["head"] * 200  # away from uniform play
    source = policy_program(weights, features, 3, steps=0, opponents=1)
    namespace: dict[str, Any] = {"__name__": "policy"}
    exec(compile(source, "policy", "exec"), namespace)
    policy = namespace["Policy"](0, 1)
    rng = np.random.default_rng(5)
    mine, theirs = rng.integers(3, size=(2, 30)).tolist()
    policy.rng = spy = _Spy(mine)
    history, seen = ActionHistory(30), []
    for own, other in zip(mine, theirs, strict=True):
        seen.append(features(history.observation, 3))
        assert policy.act(history.observation) == own
        history.extend(own, other)
    half = {name: value.astype(np.float16).astype(np.float32) for name, value in weights.items()}
    start = np.zeros((1, UNITS), np.float32)
    logits, _, _, _ = unroll(half, np.array(seen, np.float32)[:, None], (start, start))
    expected = np.exp(np.asarray(log_policy(logits, np.ones((30, 1, 3), bool))))[:, 0]
    assert np.array(spy.weights) == pytest.approx(expected, abs=1e-4)
    assert expected.std(axis=0).min() > 0.01  # the history does matter


def test_illegal_actions_have_no_probability() -> None:
    log_probs = log_policy(np.zeros((1, 3)), np.array([[True, False, True]]))
    assert np.exp(np.asarray(log_probs))[0] == pytest.approx([0.5, 0.0, 0.5])
    assert float(chosen(log_probs, np.array([2]))[0]) == pytest.approx(math.log(0.5))


_LENGTH = 100
_unrolled = jax.jit(unroll)


def copycats(rng: np.random.Generator, weights: Mapping[str, np.ndarray], count: int = 16) -> list[Trajectory]:
    """Matches of the network ``weights`` in which a move that copies what was seen brings 1. Their lengths differ."""
    cues = rng.integers(3, size=(_LENGTH, count))
    features = np.eye(6, dtype=np.float32)[cues]
    half = {name: value.astype(np.float16).astype(np.float32) for name, value in weights.items()}
    start = np.zeros((count, UNITS), np.float32)
    logits, _, _, _ = _unrolled(half, features, (start, start))
    legal = np.ones((_LENGTH, count, 3), bool)
    chances = np.exp(np.asarray(log_policy(logits, legal))).cumsum(axis=-1)
    actions = (rng.random((_LENGTH, count, 1)) * chances[..., -1:] > chances).sum(axis=-1).astype(np.int32)
    rewards = (actions == cues).astype(float)
    lengths = [_LENGTH - 3 * k for k in range(count)]
    return [Trajectory(*(part[:n, k] for part in (features, legal, actions, rewards))) for k, n in enumerate(lengths)]


def test_a_learner_learns_and_goes_on_from_bytes_as_if_it_had_not_stopped() -> None:
    rng = np.random.default_rng(2)
    learner = Learner(6, 3, seed=4)
    for _ in range(160):
        learner.learn(copycats(rng, learner.weights()), 1.0, rng)
    assert np.mean([match.rewards.mean() for match in copycats(rng, learner.weights())]) > 0.7  # 1/3 by chance
    assert (learner.steps, learner.matches) == (160 * (16 * _LENGTH - 3 * 120), 160 * 16)
    other = Learner(6, 3, seed=99)
    other.load(learner.dump())
    matches = copycats(rng, learner.weights())
    for each in (learner, other):
        each.learn(matches, 1.0, np.random.default_rng(7))
    assert (other.steps, other.matches) == (learner.steps, learner.matches)
    for name, value in learner.weights().items():
        assert np.array_equal(value, other.weights()[name])


def test_what_is_played_again_starts_each_match_anew() -> None:
    rng = np.random.default_rng(3)
    weights = {name: np.asarray(v) for name, v in initial_weights(jax.random.key(1), 6, 3).items()}
    first, second = copycats(rng, weights, 16)[:2]
    matches = [Trajectory(*(part[:60] for part in vars(each).values())) for each in (first, second)]

    def again(*chosen_: Trajectory) -> list[np.ndarray]:
        stacked = [np.stack([vars(each)[n] for each in chosen_], axis=1) for n in ("features", "legal", "actions")]
        return [np.asarray(part) for part in play_again(weights, *stacked)]

    together = again(*matches)
    for place, match in enumerate(matches):
        for whole, own in zip(together, again(match), strict=True):
            assert whole[:, place] == pytest.approx(own[:, 0], abs=1e-5)
    assert not together[1][0].any()
    assert together[1][1].any()


def test_segments_are_the_matches_cut() -> None:
    """Each starts in the state the match had there, is bootstrapped where the next begins, and ends with its match."""
    rng = np.random.default_rng(8)
    learner = Learner(6, 3, seed=2)
    lengths = (1, SEGMENT, SEGMENT + 1, 5 * SEGMENT, 5 * SEGMENT + 1)
    matches = []
    for length in lengths:
        features = rng.normal(size=(length, 6)).astype(np.float32)
        legal = np.ones((length, 3), bool)
        actions, rewards = rng.integers(3, size=length).astype(np.int32), rng.normal(size=length)
        matches.append(Trajectory(features, legal, actions, rewards))
    found = learner._segments(matches, reward_scale=2.0)
    half = {name: value.astype(np.float16).astype(np.float32) for name, value in learner.weights().items()}
    per_match = found["valid"].shape[1] // len(matches)
    assert found["valid"].sum() == sum(lengths)
    for place, match in enumerate(matches):
        log_probs, hiddens, cells = (
            np.asarray(part)[:, 0]
            for part in play_again(half, match.features[:, None], match.legal[:, None], match.actions[:, None])
        )
        for number in range(-(-len(match) // SEGMENT)):
            start, column = number * SEGMENT, place * per_match + number
            size = min(SEGMENT, len(match) - start)
            rows = slice(start, start + size)
            assert found["valid"][:, column].tolist() == [k < size for k in range(SEGMENT)]
            assert np.array_equal(found["features"][:size, column], match.features[rows])
            assert np.array_equal(found["actions"][:size, column], match.actions[rows])
            assert found["rewards"][:size, column] == pytest.approx(match.rewards[rows] / 2, abs=1e-6)
            assert found["log_probs"][:size, column] == pytest.approx(log_probs[rows], abs=1e-5)
            assert found["hidden"][column] == pytest.approx(hiddens[start], abs=1e-5)
            assert found["cell"][column] == pytest.approx(cells[start], abs=1e-5)
            last = start + size == len(match)
            assert (found["discounts"][:size, column] == 0).tolist() == [last and k == size - 1 for k in range(size)]
            if not last:
                assert np.array_equal(found["features"][SEGMENT, column], match.features[start + SEGMENT])
