"""The hand of Leduc hold'em against OpenSpiel's, the CFR+ strategy, and the repeated game's secrecy and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from games.core import Move, Observation, PolicyFactory
from games.leduc import CALL, FOLD, RAISE, LeducHand, infoset_key, infosets, rank
from games.leduc_cfr import cfr_plus, hand_value, solve
from games.match import IllegalMoveError, play_match
from games.repeated_leduc import RepeatedLeduc, RepeatedLeducEpisode
from games.seeds import episode_rng, match_seed
from games.stationary import StationaryGame, asker, exact_population_returns, stationary_table

GAME = RepeatedLeduc()
REFERENCES = GAME.reference_policies()


def exact(first: str, second: str, num_hands: int = 100) -> float:
    game = RepeatedLeduc(num_hands)
    tables = [stationary_table(game, asker(REFERENCES[name], seat), seat) for seat, name in enumerate((first, second))]
    assert tables[0] is not None and tables[1] is not None
    return float(game.stationary_returns([t for t in tables if t is not None])[0])


# -- the hand ----------------------------------------------------------------------------------------------------


def test_the_whole_tree_is_openspiels() -> None:
    import pyspiel

    visited = 0

    def walk(state: Any, cards: list[int], actions: list[int]) -> None:
        nonlocal visited
        if state.is_chance_node():
            for card, _ in state.chance_outcomes():
                walk(state.child(card), [*cards, card], actions)
            return
        visited += 1
        unturned = next(card for card in range(6) if card not in cards)
        hand = LeducHand((cards[0], cards[1]), cards[2] if len(cards) == 3 else unturned)
        for action in actions:
            hand.step(action)
        assert hand.over == state.is_terminal()
        if hand.over:
            assert hand.payoff() == state.returns()[0]
            return
        assert hand.actor == state.current_player()
        assert hand.legal_actions() == state.legal_actions()
        for action in state.legal_actions():
            walk(state.child(action), cards, [*actions, action])

    walk(pyspiel.load_game("leduc_poker").new_initial_state(), [], [])
    assert visited == 9300


@pytest.mark.parametrize("action", [FOLD, 3, -1])
def test_an_illegal_action_raises(action: int) -> None:
    with pytest.raises(ValueError, match="illegal"):
        LeducHand((0, 1), 2).step(action)


def test_there_are_288_information_sets_with_names_of_their_own() -> None:
    keys = [infoset_key(own, public, betting) for own, public, betting, _, _ in infosets()]
    assert len(keys) == len(set(keys)) == 288


# -- CFR+ --------------------------------------------------------------------------------------------------------


def _always(action: int) -> dict[str, list[float]]:
    table = {}
    for own, public, betting, _, legal in infosets():
        chosen = action if action in legal else CALL
        table[infoset_key(own, public, betting)] = [float(a == chosen) for a in range(3)]
    return table


def _match_value(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> float:
    return 50 * (hand_value(first, second) - hand_value(second, first))


def test_a_hundred_iterations_are_openspiels_hundred_iterations() -> None:
    """64.638 and 55.782 are what OpenSpiel's CFRPlusSolver has after 100 iterations."""
    table = solve(100)
    assert _match_value(table, _always(CALL)) == pytest.approx(64.638, abs=0.001)
    assert _match_value(table, _always(FOLD)) == pytest.approx(55.782, abs=0.001)


def test_the_stored_strategy_is_an_equilibrium() -> None:
    import pyspiel
    from open_spiel.python import policy
    from open_spiel.python.algorithms import exploitability

    game = pyspiel.load_game("leduc_poker")
    tabular = policy.TabularPolicy(game)
    table = cfr_plus()
    for state, row in zip(tabular.states, tabular.action_probability_array, strict=True):
        history = state.history()
        hand = LeducHand((history[0], history[1]), 0)
        public = None
        for action in history[2:]:
            if public is None and len(hand.rounds) == 2:
                public = rank(action)
            else:
                hand.step(action)
        key = infoset_key(rank(history[state.current_player()]), public, hand.betting)
        row[:] = table[key]
    assert exploitability.exploitability(game, tabular) < 2e-5
    assert hand_value(table, table) == pytest.approx(-0.085606, abs=1e-5)


def test_the_solver_is_on_the_way_to_the_stored_strategy() -> None:
    early = solve(150)
    stored = cfr_plus()
    assert set(early) == set(stored)
    assert _match_value(early, stored) == pytest.approx(0.0, abs=0.5)


# -- the repeated game -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        ("cfr+", "cfr+", 0.0),
        ("cfr+", "AlwaysCall", 63.293),
        ("cfr+", "AlwaysFold", 57.274),
        ("AlwaysRaise", "AlwaysFold", 100.0),
        ("AlwaysRaise", "AlwaysCall", 0.0),
        ("AlwaysCall", "AlwaysCall", 0.0),
    ],
)
def test_exact_values_from_both_seats(first: str, second: str, value: float) -> None:
    assert exact(first, second) == pytest.approx(value, abs=0.002)
    assert exact(second, first) == pytest.approx(-value, abs=0.002)


def population_values(factory: PolicyFactory) -> dict[str, float] | None:
    return exact_population_returns(GAME, lambda seat: asker(factory, seat), (0, 1))


def test_population_return_of_cfr_plus() -> None:
    values = population_values(REFERENCES["cfr+"])
    assert values is not None
    assert values == pytest.approx({"cfr+": 0.0, "AlwaysCall": 63.293, "AlwaysFold": 57.274}, abs=0.002)
    assert np.mean(list(values.values())) == pytest.approx(40.19, abs=0.01)


def test_a_program_that_always_raises() -> None:
    source = """
class Policy:
    def __init__(self, player, seed): pass
    def act(self, observation): return 2 if 2 in observation["legal_actions"] else 1
"""
    namespace: dict[str, PolicyFactory] = {}
    exec(source, namespace)
    values = population_values(namespace["Policy"])
    assert values is not None
    assert values["AlwaysFold"] == pytest.approx(100.0)
    assert values["AlwaysCall"] == pytest.approx(0.0)
    assert values["cfr+"] < -33


def test_a_policy_with_memory_has_no_exact_values() -> None:
    assert population_values(_Counting) is None


def test_exact_values_grow_with_the_number_of_hands() -> None:
    assert exact("cfr+", "AlwaysFold", num_hands=1) == pytest.approx(0.57274, abs=1e-4)


def test_matches_agree_with_exact_values() -> None:
    for name, spread in (("AlwaysFold", 7.7), ("AlwaysCall", 37.8)):
        returns = [play_match(GAME, [REFERENCES["cfr+"], REFERENCES[name]], match_seed(1, i))[0] for i in range(60)]
        assert abs(np.mean(returns) - exact("cfr+", name)) < 4 * spread / np.sqrt(60)
        assert np.std(returns) == pytest.approx(spread, rel=0.4)


def _play(episode: RepeatedLeducEpisode, actions: Sequence[int]) -> list[tuple[int, Observation]]:
    seen = []
    for action in actions:
        ((seat, observation),) = episode.pending().items()
        seen.append((seat, observation))
        episode.step({seat: action})
    return seen


def test_the_first_to_act_alternates_and_is_drawn() -> None:
    openers = set()
    for seed in range(12):
        episode = RepeatedLeduc(4).new_episode(episode_rng(seed))
        order = []
        while pending := episode.pending():
            ((seat, observation),) = pending.items()
            if observation["betting"] == [[]]:
                assert observation["acts_first"]
                order.append(seat)
            episode.step({seat: CALL})
        assert order in ([0, 1, 0, 1], [1, 0, 1, 0])
        openers.add(order[0])
    assert openers == {0, 1}


@pytest.mark.parametrize("actions", [[RAISE, FOLD], [CALL, RAISE, FOLD], [RAISE, CALL, RAISE, FOLD]])
def test_a_folded_hand_shows_no_card(actions: list[int]) -> None:
    """Whatever the other card is, a player sees the same during the hand and after a fold."""
    views = []
    for other in (0, 1, 4):
        episode = RepeatedLeducEpisode([((2, other), 3), ((0, 2), 4)], 0, 2)
        views.append([observation for seat, observation in _play(episode, [*actions, CALL, CALL]) if seat == 0])
    assert views[0] == views[1] == views[2]


def test_the_public_card_is_not_seen_before_it_is_turned() -> None:
    views = []
    for public in (3, 5):
        episode = RepeatedLeducEpisode([((2, 0), public), ((0, 2), 4)], 0, 2)
        views.append(_play(episode, [CALL, RAISE, FOLD, CALL]))
    assert views[0] == views[1]


def test_a_showdown_shows_both_cards_and_the_result() -> None:
    episode = RepeatedLeducEpisode([((2, 0), 3), ((0, 2), 4)], 0, 2)
    seen = dict(_play(episode, [CALL, CALL, RAISE, CALL, CALL, CALL])[-2:])
    assert seen[0]["last_hand"] == {
        "acts_first": True,
        "private_card": 1,
        "opponent_card": 0,
        "public_card": 1,
        "betting": [[CALL, CALL], [RAISE, CALL]],
        "result": 5,
    }
    assert seen[1]["last_hand"]["result"] == -5  # type: ignore[index]
    assert (seen[0]["total"], seen[1]["total"]) == (5, -5)


def test_only_the_player_to_act_may_act() -> None:
    episode = RepeatedLeducEpisode([((2, 0), 3)], 1, 1)
    with pytest.raises(ValueError, match="it is player 1 who acts"):
        episode.step({0: CALL})


# -- stationary policies -----------------------------------------------------------------------------------------


class _Counting:
    def __init__(self, player: int, seed: int) -> None:
        self.calls = 0

    def act(self, observation: Observation) -> Move:
        self.calls += 1
        return RAISE if self.calls % 7 == 0 and RAISE in observation["legal_actions"] else CALL  # type: ignore[operator]


class _Drawing:
    def __init__(self, player: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def act(self, observation: Observation) -> Move:
        return int(self.rng.choice(observation["legal_actions"]))  # type: ignore[call-overload]


class _Scared:
    def __init__(self, player: int, seed: int) -> None:
        pass

    def act(self, observation: Observation) -> Move:
        behind = observation["total"] < 0  # type: ignore[operator]
        return RAISE if behind and RAISE in observation["legal_actions"] else CALL  # type: ignore[operator]


@pytest.mark.parametrize("factory", [_Counting, _Drawing, _Scared])
def test_a_policy_with_memory_has_no_table(factory: PolicyFactory) -> None:
    assert stationary_table(GAME, asker(factory, 0), 0) is None


@pytest.mark.parametrize("name", list(REFERENCES))
def test_the_references_have_tables(name: str) -> None:
    assert isinstance(GAME, StationaryGame)
    table = stationary_table(GAME, asker(REFERENCES[name], 1), 1)
    assert table is not None
    assert table.shape == (288, 3)
    assert table.sum(axis=1) == pytest.approx(np.ones(288))


def test_an_illegal_move_at_a_decision_point_is_reported() -> None:
    class Folding:
        def act(self, observation: Observation) -> Move:
            return FOLD

    with pytest.raises(IllegalMoveError, match="action 0 is illegal"):
        stationary_table(GAME, asker(lambda player, seed: Folding(), 0), 0)


@pytest.mark.parametrize("num_hands", [0, -3, "many", 2.0, True, 10**7])
def test_a_bad_number_of_hands_says_what_is_allowed(num_hands: object) -> None:
    with pytest.raises(ValueError, match="num_hands must be an integer from 1 to"):
        RepeatedLeduc(num_hands)  # type: ignore[arg-type]
