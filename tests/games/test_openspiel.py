from __future__ import annotations

import pickle

import numpy as np
import pytest

from games.match import play_match, record_match
from games.openspiel import OpenSpielGame, openspiel_game
from games.openspiel_references import cfr_plus
from games.registry import GameError, make_game
from games.seeds import episode_rng, match_seed


def test_an_alias_and_parameters() -> None:
    assert make_game("kuhn").spec.name == "openspiel:kuhn_poker"
    assert make_game("openspiel:kuhn_poker", players=3).spec.num_players == 3


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("kuhn_pocker", {}, r"no game 'kuhn_pocker'; did you mean kuhn_poker"),
        ("kuhn_poker", {"player": 3}, r"no parameter 'player'; did you mean players\?"),
        ("kuhn_poker", {"players": "two"}, "does not take"),
        ("kuhn_poker", {"players": 99}, "does not take"),
        ("mfg_crowd_modelling", {}, "cannot be played here: its dynamics are mean_field"),
        ("negotiation", {}, "cannot be played here: it draws its own chance"),
    ],
)
def test_what_cannot_be_made_says_why(name: str, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(GameError, match=message):
        make_game(f"openspiel:{name}", **parameters)


def test_games_travel_to_other_processes() -> None:
    game = pickle.loads(pickle.dumps(openspiel_game("kuhn_poker", players=3)))
    assert isinstance(game, OpenSpielGame)
    assert game.spec == openspiel_game("kuhn_poker", players=3).spec
    for factory in openspiel_game("kuhn_poker").reference_population().values():
        pickle.loads(pickle.dumps(factory))(0, 1)


def test_a_player_sees_the_same_whatever_the_other_holds() -> None:
    """In Kuhn poker with a fixed own card, the first observation never varies."""
    game = openspiel_game("kuhn_poker")
    seen: dict[str, set[str]] = {}
    for seed in range(60):
        pending = game.new_episode(episode_rng(seed)).pending()
        seen.setdefault(str(pending[0]["text"]), set()).add(repr(sorted(pending[0].items())))
    assert set(seen) == {"0", "1", "2"}
    assert all(len(variants) == 1 for variants in seen.values())


def test_own_actions_are_kept_and_history_only_shown_with_perfect_information() -> None:
    hidden = openspiel_game("kuhn_poker").new_episode(episode_rng(0)).pending()[0]
    assert "history" not in hidden
    game = openspiel_game("tic_tac_toe")
    episode = game.new_episode(episode_rng(0))
    for action in (4, 0, 8):
        ((player, _),) = episode.pending().items()
        episode.step({player: action})
    seen = episode.pending()[1]
    assert seen["history"] == [4, 0, 8]
    assert seen["my_actions"] == [0]
    assert seen["legal_actions"] == [1, 2, 3, 5, 6, 7]


def test_simultaneous_moves() -> None:
    game = openspiel_game("matrix_rps")
    episode = game.new_episode(episode_rng(0))
    assert set(episode.pending()) == {0, 1}
    with pytest.raises(ValueError, match=r"players \[0, 1\] act"):
        episode.step({0: 1})
    episode.step({0: 1, 1: 0})
    assert episode.returns().tolist() == [1, -1]
    with pytest.raises(ValueError, match="over"):
        episode.step({0: 1, 1: 0})


def test_chance_follows_the_seed() -> None:
    game = openspiel_game("leduc_poker")
    players = [game.reference_population()["uniform"]] * 2
    logs = [record_match(game, players, seed) for seed in (1, 1, 2, 3, 4)]
    assert logs[0].actions == logs[1].actions
    assert logs[0].returns.tolist() == logs[1].returns.tolist()
    assert len({str(log.actions) for log in logs}) > 1


def test_cfr_plus_solves_kuhn_poker() -> None:
    import pyspiel
    from open_spiel.python import policy
    from open_spiel.python.algorithms import exploitability

    game = pyspiel.load_game("kuhn_poker")
    tabular = policy.TabularPolicy(game)
    table = cfr_plus("kuhn_poker", ())
    for state, row in zip(tabular.states, tabular.action_probability_array, strict=True):
        row[:] = table[state.information_state_string(state.current_player())]
    assert exploitability.nash_conv(game, tabular) < 1e-3
    reference = openspiel_game("kuhn_poker").reference_population()["cfr+"]
    returns = [play_match(openspiel_game("kuhn_poker"), [reference] * 2, match_seed(3, i))[0] for i in range(600)]
    assert abs(np.mean(returns) + 1 / 18) < 4 * np.std(returns) / np.sqrt(len(returns))


def test_cfr_plus_is_offered_only_where_it_is_quick() -> None:
    assert "cfr+" in openspiel_game("kuhn_poker").reference_population()
    for name in ("leduc_poker", "tic_tac_toe", "matrix_rps", "first_sealed_auction"):
        assert "cfr+" not in openspiel_game(name).reference_population()


def test_tree_search_beats_uniform_play() -> None:
    game = openspiel_game("tic_tac_toe")
    population = game.reference_population()
    seats = [population["mcts_100"], population["uniform"]]
    returns = [play_match(game, seats, seed)[0] for seed in range(20)]
    assert np.mean(returns) > 0.7
    assert returns == [play_match(game, seats, seed)[0] for seed in range(20)]


def test_rules_name_the_settings_and_known_games_are_explained() -> None:
    rules = openspiel_game("kuhn_poker", players=3).brief.rules
    assert "players = 3" in rules
    assert "antes 1" in rules
    assert "Connect Four" in openspiel_game("connect_four").brief.rules
