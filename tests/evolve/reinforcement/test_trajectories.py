"""What a learner sees of a match: rewards that add to the return, and features whose text goes into programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evolve.reinforcement.features import features_of, source_of
from evolve.reinforcement.trajectories import trajectory
from games.core import Game
from games.registry import make_game
from games.seeds import episode_rng
from sandbox.lockstep import MatchRecord


def played(game: Game, seed: int) -> MatchRecord:
    """A match of random legal moves, as the referee records it."""
    rng, episode = np.random.default_rng(seed), game.new_episode(episode_rng(seed))
    log: list[tuple[int, int]] = []
    while pending := episode.pending():
        actions = {}
        for seat, seen in pending.items():
            legal: Any = seen.get("legal_actions", range(game.spec.num_actions))
            actions[seat] = int(rng.choice(list(legal)))
        episode.step(actions)
        log += sorted(actions.items())
    returns = tuple(map(float, episode.returns()))
    if game.spec.observation_form == "action_history":
        joint = np.array([action for _, action in log], np.uint8).reshape(-1, 2)
        return MatchRecord(seed, returns, len(log), joint)
    return MatchRecord(seed, returns, len(log), log)


@pytest.mark.parametrize("name", ["repeated_rps", "repeated_leduc"])
@pytest.mark.parametrize("seat", [0, 1])
def test_the_rewards_of_a_match_add_to_its_return(name: str, seat: int) -> None:
    game = make_game(name)
    features = features_of(game)
    assert features is not None
    record = played(game, 11)
    found = trajectory(game, record, seat, features)
    assert found.rewards.sum() == pytest.approx(record.returns[seat])
    assert len(found.features) == len(found.legal) == len(found.actions) == len(found.rewards) > 0
    assert found.legal[np.arange(len(found)), found.actions].all()


def test_a_round_is_rewarded_where_it_was_played() -> None:
    game = make_game("repeated_rps", num_rounds=3)
    features = features_of(game)
    assert features is not None
    record = MatchRecord(1, (0.0, 0.0), 6, np.array([[1, 0], [2, 2], [0, 1]], np.uint8))
    found = trajectory(game, record, 0, features)
    assert found.rewards.tolist() == [1.0, 0.0, -1.0]
    assert found.features.tolist() == [[0] * 6, [0, 1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 1]]


@pytest.mark.parametrize("name", ["repeated_rps", "repeated_leduc"])
def test_the_features_text_stands_alone(name: str) -> None:
    game = make_game(name)
    features = features_of(game)
    assert features is not None
    namespace: dict[str, Any] = {}
    exec(source_of(features), namespace)
    for observation in game.brief.smoke_observations:
        assert namespace["features"](observation, 3) == features(observation, 3)


def test_the_information_sets_of_leduc_differ_in_their_features() -> None:
    game = make_game("repeated_leduc")
    features = features_of(game)
    assert features is not None
    points = game.decision_points(0)  # type: ignore[attr-defined]
    seen = {tuple(features(point, 3)) for point in points}
    assert len(seen) == len(points) == 288
    assert len({len(row) for row in seen}) == 1


def test_other_games_have_no_features() -> None:
    assert features_of(make_game("openspiel:kuhn_poker")) is None
    assert features_of(make_game("climbing")) is None
