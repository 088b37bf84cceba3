"""What every game promises. Games are discovered: a new module of :mod:`games` is tested without being named here."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from typing import get_args

import msgpack
import numpy as np
import pytest

from games.core import ActionHistoryGame, Game, Move, Observation, ObservationForm, PolicyFactory, Utility
from games.match import choose_action, record_match
from games.program_game import ProgramGame, TrustedProgram
from games.registry import game_names, make_game
from games.seeds import episode_rng, match_seed
from games.simulation import TrustedRunner
from sandbox.limits import Limits

FAMILY_MEMBERS = (
    "openspiel:kuhn_poker",
    "openspiel:goofspiel",
    "openspiel:tic_tac_toe",
    "openspiel:coin_game",
    "openspiel:first_sealed_auction",
    "openspiel:pig",
)
SEEDS = [match_seed(0, i) for i in range(8)]


@pytest.fixture(params=(*game_names(), *FAMILY_MEMBERS))
def game(request: pytest.FixtureRequest) -> Game:
    return make_game(request.param)


def _is_symmetric(name: str) -> bool:
    spec = make_game(name).spec
    return spec.symmetric and spec.num_players == 2


@pytest.fixture(params=[name for name in (*game_names(), *FAMILY_MEMBERS) if _is_symmetric(name)])
def symmetric_game(request: pytest.FixtureRequest) -> Game:
    return make_game(request.param)


class _Random:
    """Uniform over the legal actions."""

    def __init__(self, num_actions: int, seed: int) -> None:
        self.num_actions = num_actions
        self.rng = np.random.default_rng(seed)

    def act(self, observation: Observation) -> Move:
        legal = observation.get("legal_actions", range(self.num_actions))
        return int(self.rng.choice(list(legal)))  # type: ignore[call-overload]


def random_policy(game: Game) -> PolicyFactory:
    return lambda player, seed: _Random(game.spec.num_actions, seed)


def seed_policy(game: Game) -> PolicyFactory:
    """The game's own seed program, trusted code, executed here; a function ``policy`` plays from what it sees."""
    if isinstance(game, ProgramGame):
        texts = [game.brief.seed_program, *game.reference_programs().values()]
        return TrustedProgram(game, texts[0], TrustedRunner(texts))
    namespace: dict[str, object] = {}
    exec(game.brief.seed_program, namespace)
    if "Policy" in namespace:
        return namespace["Policy"]  # type: ignore[return-value]

    class FunctionPolicy:
        def __init__(self, player: int, seed: int) -> None:
            self.act = namespace["policy"]

    return FunctionPolicy  # type: ignore[return-value]


def test_the_spec_is_sane(game: Game) -> None:
    spec = game.spec
    assert spec.num_players >= 1
    assert spec.num_actions >= 2
    assert spec.utility in get_args(Utility)
    assert spec.observation_form in get_args(ObservationForm)
    assert spec.return_range[0] < spec.return_range[1]
    assert spec.lockstep >= 1
    assert set(spec.limits) <= {f.name for f in fields(Limits)}
    assert (spec.observation_form == "action_history") == isinstance(game, ActionHistoryGame)
    if spec.utility == "zero_sum" and spec.symmetric:
        assert spec.return_range[0] == -spec.return_range[1]


def test_the_brief_is_whole(game: Game) -> None:
    brief = game.brief
    assert len(brief.rules) > 100
    assert "num" in brief.policy_api and "{" not in brief.policy_api.replace("{}", "")
    assert brief.seed_program.count("# EVOLVE-BLOCK-START") == brief.seed_program.count("# EVOLVE-BLOCK-END") >= 1
    tree = ast.parse(brief.seed_program)
    author = [n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name in ("Policy", "policy")]
    assert len(author) == 1
    assert ast.get_docstring(author[0])


def test_smoke_observations_are_legal_and_travel(game: Game) -> None:
    observations = game.brief.smoke_observations
    assert observations
    for observation in observations:
        assert msgpack.unpackb(msgpack.packb(observation)) == observation
    policy = seed_policy(game)(0, 1)
    for observation in observations:
        legal = observation.get("legal_actions")
        choose_action(policy.act(observation), game.spec.num_actions, legal, np.random.default_rng(0))  # type: ignore[arg-type]


def test_a_smoke_observation_has_the_keys_of_a_real_one(game: Game) -> None:
    real = _first_observation_of_player_0(game)
    assert set(game.brief.smoke_observations[0]) == set(real)


def _first_observation_of_player_0(game: Game) -> Observation:
    episode = game.new_episode(episode_rng(0))
    policy = _Random(game.spec.num_actions, 0)
    while 0 not in (pending := episode.pending()):
        episode.step({seat: int(policy.act(seen)) for seat, seen in pending.items()})  # type: ignore[call-overload]
    return pending[0]


def test_random_play_ends_within_the_return_range(game: Game) -> None:
    low, high = game.spec.return_range
    for seed in SEEDS:
        log = record_match(game, [random_policy(game)] * game.spec.num_players, seed)
        assert log.returns.shape == (game.spec.num_players,)
        assert log.returns.dtype == np.float64
        assert (log.returns >= low).all() and (log.returns <= high).all()
        if game.spec.utility == "zero_sum":
            assert log.returns.sum() == pytest.approx(0.0, abs=1e-9)
        if game.spec.utility == "common_payoff":
            assert np.ptp(log.returns) == 0


def test_every_observation_of_a_match_travels_and_names_legal_actions(game: Game) -> None:
    episode = game.new_episode(episode_rng(SEEDS[0]))
    policy = _Random(game.spec.num_actions, 1)
    steps = 0
    while (pending := episode.pending()) and steps < 200:
        for seat, observation in pending.items():
            assert 0 <= seat < game.spec.num_players
            assert msgpack.unpackb(msgpack.packb(observation)) == observation
            legal = observation.get("legal_actions", [0])
            assert isinstance(legal, list) and legal and set(legal) <= set(range(game.spec.num_actions))
        episode.step({seat: int(policy.act(seen)) for seat, seen in pending.items()})  # type: ignore[call-overload]
        steps += 1


def test_looking_twice_changes_nothing(game: Game) -> None:
    episode = game.new_episode(episode_rng(SEEDS[1]))
    assert msgpack.packb(episode.pending()) == msgpack.packb(episode.pending())


def test_the_seed_decides_the_match(game: Game) -> None:
    players = [random_policy(game)] * game.spec.num_players
    logs = [record_match(game, players, seed) for seed in (SEEDS[0], SEEDS[0], *SEEDS[1:])]
    assert logs[0].actions == logs[1].actions
    assert np.array_equal(logs[0].returns, logs[1].returns)
    assert len({str(log.actions) for log in logs}) > 1


def test_the_seed_program_plays_itself(game: Game) -> None:
    players = [seed_policy(game)] * game.spec.num_players
    first, again = (record_match(game, players, SEEDS[0]) for _ in range(2))
    assert first.actions == again.actions
    assert (first.returns >= game.spec.return_range[0]).all()


def test_seats_of_a_symmetric_game_are_exchangeable(symmetric_game: Game) -> None:
    """Random against the first reference policy earns the same from either seat, within noise."""
    game = symmetric_game
    other = next(iter(_population(game).values()))
    me = random_policy(game)
    first = np.array([record_match(game, [me, other], match_seed(1, i)).returns[0] for i in range(15)])
    second = np.array([record_match(game, [other, me], match_seed(2, i)).returns[1] for i in range(15)])
    noise = np.sqrt(first.var() / 15 + second.var() / 15)
    assert abs(first.mean() - second.mean()) <= 4.5 * noise + 1e-9


def test_returns_are_told_from_the_actions_of_a_match_and_of_its_first_rounds(game: Game) -> None:
    if not isinstance(game, ActionHistoryGame):
        return  # it need not tell them
    log = record_match(game, [random_policy(game)] * game.spec.num_players, SEEDS[0])
    actions = np.array([[joint[0], joint[1]] for joint in log.actions], dtype=np.uint8)[np.newaxis]
    assert actions.shape == (1, game.num_rounds, 2)
    assert game.returns_from_actions(actions).tolist() == [log.returns.tolist()]
    for rounds in {1, max(1, game.num_rounds // 2)}:
        cut = game.returns_from_actions(actions[:, :rounds])
        again = game.returns_from_actions(np.repeat(actions[:, :rounds], 2, axis=0))
        assert cut.shape == (1, 2) and again.tolist() == [*cut.tolist(), *cut.tolist()]
        assert (np.abs(cut) <= np.abs(game.spec.return_range).max() * rounds / game.num_rounds).all()


def _population(game: Game) -> Mapping[str, PolicyFactory]:
    return game.reference_population()


def test_the_reference_population_plays(game: Game) -> None:
    population = _population(game)
    assert population
    policies = list(population.values())
    for make in policies[:6]:
        log = record_match(game, [make] * game.spec.num_players, SEEDS[2])
        assert np.isfinite(log.returns).all()


def test_an_illegal_action_raises(game: Game) -> None:
    episode = game.new_episode(episode_rng(SEEDS[3]))
    with pytest.raises(ValueError):
        episode.step(dict.fromkeys(episode.pending(), game.spec.num_actions))
    with pytest.raises(ValueError):
        episode.step({})
