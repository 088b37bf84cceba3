"""Plays matches between trusted policies in this process, under the seeds that the referee would use.

Programs written by a model are played by :mod:`sandbox.referee` instead. :func:`choose_action` is the one
rule for what a move is, for both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from games.core import FloatArray, Game, PolicyFactory, SourceGame
from games.protocols import implements
from games.seeds import episode_rng, sampling_rng, seat_seed

PROBABILITY_TOLERANCE = 1e-6


class IllegalMoveError(ValueError):
    """A policy returned something that is no legal action and no distribution over legal actions."""


def choose_action(move: object, num_actions: int, legal: Sequence[int] | None, rng: np.random.Generator) -> int:
    """The action a move stands for: itself if an int, else drawn from its probabilities.

    ``legal`` is the observation's ``legal_actions`` where it has them, else ``None`` for all ``num_actions``.
    Types are compared exactly, so that no method of a foreign object runs; numpy scalars and arrays count as
    the Python values they hold. Raises :class:`IllegalMoveError`.
    """
    if type(move) is int:
        _check_legal(move, num_actions, legal)
        return move
    if isinstance(move, np.generic | np.ndarray):
        return choose_action(move.tolist(), num_actions, legal, rng)
    return _sample(_distribution(move, num_actions, legal), rng)


def move_distribution(move: object, num_actions: int, legal: Sequence[int] | None) -> list[float]:
    """The probabilities of all ``num_actions`` that a move stands for. Raises :class:`IllegalMoveError`."""
    if isinstance(move, np.generic | np.ndarray):
        move = move.tolist()
    if type(move) is not int:
        return _distribution(move, num_actions, legal)
    _check_legal(move, num_actions, legal)
    return [float(action == move) for action in range(num_actions)]


def _check_legal(action: int, num_actions: int, legal: Sequence[int] | None) -> None:
    if not (0 <= action < num_actions if legal is None else action in legal):
        allowed = range(num_actions) if legal is None else legal
        raise IllegalMoveError(f"action {action} is illegal here; legal are {', '.join(map(str, allowed))}")


def _distribution(move: object, num_actions: int, legal: Sequence[int] | None) -> list[float]:
    if type(move) not in (list, tuple):
        raise IllegalMoveError(f"a move is an int or a list of {num_actions} probabilities, not {type(move).__name__}")
    weights: Sequence[object] = move  # type: ignore[assignment]
    if len(weights) != num_actions:
        raise IllegalMoveError(f"{len(weights)} probabilities for {num_actions} actions")
    values = [p.item() if isinstance(p, np.generic) else p for p in weights]
    if not all(type(p) in (int, float) for p in values):
        raise IllegalMoveError("a probability is a float")
    probabilities = [float(p) for p in values]  # type: ignore[arg-type]
    if not all(0.0 <= p <= 1.0 + PROBABILITY_TOLERANCE for p in probabilities):
        raise IllegalMoveError(f"probabilities lie between 0 and 1: {probabilities}")
    if not math.isclose(sum(probabilities), 1.0, abs_tol=PROBABILITY_TOLERANCE):
        raise IllegalMoveError(f"probabilities add to {sum(probabilities):g}, not 1")
    if legal is not None and any(p > 0.0 and a not in legal for a, p in enumerate(probabilities)):
        raise IllegalMoveError(f"probability on an illegal action; legal are {', '.join(map(str, legal))}")
    return probabilities


def _sample(probabilities: Sequence[float], rng: np.random.Generator) -> int:
    threshold = rng.random() * sum(probabilities)
    cumulative = 0.0
    last = 0
    for action, p in enumerate(probabilities):
        if p > 0.0:
            cumulative += p
            last = action
            if threshold < cumulative:
                break
    return last


@dataclass(frozen=True)
class MatchLog:
    """One finished match: each player's return, and the actions of whoever acted, step by step."""

    seed: int
    returns: FloatArray
    actions: tuple[Mapping[int, int], ...]


def with_program_sources(game: Game, players: Sequence[object]) -> Game:
    """``game`` with the players' program texts in view if it is a game of programs, else ``game`` as it is.

    A player is its text, or a factory that shows the attribute ``program_source``, or none. Whoever plays a match
    must go through here before it makes the episode.
    """
    if not implements(game, SourceGame):
        return game
    return game.with_sources([p if isinstance(p, str) else getattr(p, "program_source", "") for p in players])


def record_match(game: Game, factories: Sequence[PolicyFactory], seed: int) -> MatchLog:
    """Plays one match to its end. ``factories[i]`` makes the policy of seat ``i``; ``seed`` decides everything."""
    spec = game.spec
    if len(factories) != spec.num_players:
        raise ValueError(f"{spec.name} has {spec.num_players} players, not {len(factories)}")
    policies = [make(seat, seat_seed(seed, seat)) for seat, make in enumerate(factories)]
    rngs = [sampling_rng(seed, seat) for seat in range(spec.num_players)]
    episode = with_program_sources(game, factories).new_episode(episode_rng(seed))
    steps: list[Mapping[int, int]] = []
    while pending := episode.pending():
        actions = {}
        for seat, observation in pending.items():
            legal: Sequence[int] | None = observation.get("legal_actions")  # type: ignore[assignment]
            actions[seat] = choose_action(policies[seat].act(observation), spec.num_actions, legal, rngs[seat])
        episode.step(actions)
        steps.append(actions)
    return MatchLog(seed, episode.returns(), tuple(steps))


def play_match(game: Game, factories: Sequence[PolicyFactory], seed: int) -> FloatArray:
    """Returns of one match, shape ``(num_players,)``; see :func:`record_match`."""
    return record_match(game, factories, seed).returns
