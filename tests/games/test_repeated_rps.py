from __future__ import annotations

import numpy as np
import pytest

from games.core import ActionHistoryGame, PolicyFactory
from games.match import play_match
from games.repeated_rps import RepeatedRPS

RNG = np.random.default_rng(0)


def test_it_is_an_action_history_game() -> None:
    assert isinstance(RepeatedRPS(), ActionHistoryGame)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [(0, 0, 0), (0, 1, -1), (0, 2, 1), (1, 0, 1), (1, 1, 0), (1, 2, -1), (2, 0, -1), (2, 1, 1), (2, 2, 0)],
)
def test_every_throw_is_scored(first: int, second: int, outcome: int) -> None:
    episode = RepeatedRPS(num_rounds=2).new_episode(RNG)
    episode.step({0: first, 1: second})
    assert episode.returns().tolist() == [outcome, -outcome]
    actions = np.array([[[first, second]]], dtype=np.uint8)
    assert RepeatedRPS(num_rounds=1).returns_from_actions(actions).tolist() == [[outcome, -outcome]]


def test_the_array_form_agrees_with_the_episodes() -> None:
    game = RepeatedRPS(num_rounds=200)
    actions = RNG.integers(3, size=(20, 200, 2)).astype(np.uint8)
    played = []
    for match in actions:
        episode = game.new_episode(RNG)
        for first, second in match.tolist():
            episode.step({0: first, 1: second})
        played.append(episode.returns())
    assert np.array_equal(game.returns_from_actions(actions), np.array(played))


def test_each_player_sees_the_joint_actions_from_its_own_side() -> None:
    episode = RepeatedRPS(num_rounds=3).new_episode(RNG)
    episode.step({0: 0, 1: 1})
    episode.step({0: 2, 1: 1})
    seen = episode.pending()
    assert seen[0] == {"round": 2, "num_rounds": 3, "my_actions": [0, 2], "opponent_actions": [1, 1]}
    assert seen[1] == {"round": 2, "num_rounds": 3, "my_actions": [1, 1], "opponent_actions": [0, 2]}
    episode.step({0: 0, 1: 0})
    assert episode.pending() == {}
    with pytest.raises(ValueError, match="over after 3 rounds"):
        episode.step({0: 0, 1: 0})


@pytest.mark.parametrize("actions", [{0: 0}, {0: 3, 1: 0}, {0: -1, 1: 0}, {0: 0, 1: 0, 2: 0}, {}])
def test_an_illegal_throw_raises(actions: dict[int, int]) -> None:
    with pytest.raises(ValueError, match="throw 0, 1 or 2"):
        RepeatedRPS().new_episode(RNG).step(actions)


@pytest.mark.parametrize("num_rounds", [0, -1, 10**9, "ten", 1.5, True])
def test_a_bad_length_says_what_is_allowed(num_rounds: object) -> None:
    with pytest.raises(ValueError, match="num_rounds must be an integer from 1 to"):
        RepeatedRPS(num_rounds=num_rounds)  # type: ignore[arg-type]


def test_the_brief_states_the_length_and_nothing_of_the_population() -> None:
    brief = RepeatedRPS(num_rounds=77).brief
    assert "77 rounds" in brief.rules
    text = (brief.rules + brief.policy_api + brief.seed_program).lower()
    for word in ("greenberg", "iocaine", "roshambo", "openspiel", "bots"):
        assert word not in text


def test_smoke_observations_are_fresh_and_in_match_order() -> None:
    game = RepeatedRPS(num_rounds=5)
    first, second = game.brief.smoke_observations, game.brief.smoke_observations
    assert [o["round"] for o in first] == [0, 1, 2, 3, 4]
    assert all(len(o["my_actions"]) == o["round"] == len(o["opponent_actions"]) for o in first)  # type: ignore[arg-type]
    first[1]["my_actions"].append(9)  # type: ignore[attr-defined]
    assert second[1]["my_actions"] == game.brief.smoke_observations[1]["my_actions"] != first[1]["my_actions"]


@pytest.mark.parametrize("weight", [1, 2, 3])
def test_one_changed_constant_beats_the_seed_program(weight: int) -> None:
    game = RepeatedRPS()
    source = game.brief.seed_program
    assert source.count("0 * theirs[-1]") == 1
    seed, changed = _policy(source), _policy(source.replace("0 * theirs[-1]", f"{weight} * theirs[-1]"))
    assert np.mean([play_match(game, [changed, seed], s)[0] for s in range(6)]) > 400


def _policy(source: str) -> PolicyFactory:
    namespace: dict[str, PolicyFactory] = {}
    exec(source, namespace)
    return namespace["Policy"]
