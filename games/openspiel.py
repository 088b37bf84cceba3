"""Any sequential or simultaneous OpenSpiel game, as ``openspiel:NAME`` with the parameters that game takes.

A policy sees text, never an OpenSpiel state, which would hold the other players' cards: the information state where
the game has one, else the observation; with perfect information also all actions so far. Chance is drawn by the
episode's generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from games.briefs import policy_class_api
from games.core import FloatArray, Game, GameBrief, GameSpec, Observation, PolicyFactory, Utility

_DISTRIBUTION_ACTIONS = 64
_SMOKE_SEEDS = 20
_SMOKE_OBSERVATIONS = 6

_RULES = """\
The game {long_name} (OpenSpiel: {name}) for {players}.
{words}{kind}
{actions}
A player's return lies between {low:g} and {high:g}."""

_WORDS = {
    "kuhn_poker": """\
Kuhn poker: a deck of one card for each player and one more, numbered from 0; the highest card wins. Each player antes 1
and is dealt one card. In turn a player passes (0) or bets 1 chip (1); after a bet, passing folds and betting calls. If
all pass, or a bet is called, the cards are shown.
""",
    "goofspiel": """\
Goofspiel: in each round a point card is turned and the players bid one card of their hands at the same time; the
highest bid wins the points, a tie wins nobody any, and the cards bid are gone. The most points at the end win.
""",
    "liars_dice": """\
Liar's dice: each player rolls dice that only it sees. In turn players raise the bid, a number of dice and a face that
all dice together are claimed to show at least (the highest face is wild), or call liar on the last bid and end the
game: if the claim holds the bidder wins, else the caller.
""",
}

_ACT_RETURNS = """\
act returns one of observation["legal_actions"], or a list of {num_actions} probabilities, one for each action of
the game, that add to 1, with 0 for illegal actions, from which the referee draws."""

_OBSERVATION = """
observation is a dict:
  "player": int, this player's seat
  "num_players": int
  "legal_actions": list of int
  "legal_action_strings": list of str, what each legal action means
  "text": str, {text}
  "my_actions": list of int, this player's own actions so far{history}"""

_HISTORY = """
  "history": list of int, all actions so far by every player and by chance, oldest first"""

_SEED_PROGRAM = '''\
import random


class Policy:
    """Draws among the legal actions with equal weights."""

    def __init__(self, player, seed):
        self.rng = random.Random(seed)

    def weight(self, action, seen):
        # EVOLVE-BLOCK-START
        return 1 + 0 * ((seen + action) % 3) + 0 * action
        # EVOLVE-BLOCK-END

    def act(self, observation):
        legal = observation["legal_actions"]
        seen = sum(ord(character) for character in observation["text"])
        weights = [max(0.0, self.weight(action, seen)) for action in legal]
        if sum(weights) <= 0:
            weights = [1.0] * len(legal)
{act}
'''

_ACT_BY_DISTRIBUTION = """\
        probabilities = [0.0] * {num_actions}
        for action, weight in zip(legal, weights):
            probabilities[action] = weight / sum(weights)
        return probabilities"""

_ACT_BY_DRAWING = "        return self.rng.choices(legal, weights)[0]"


class OpenSpielGame:
    """An OpenSpiel game behind :class:`games.core.Game`. Pickled by its name and parameters."""

    def __init__(self, name: str, parameters: Mapping[str, object] | None = None) -> None:
        self.name = name
        self.parameters = dict(parameters or {})
        self.game = _load(name, self.parameters)

    def __reduce__(self) -> tuple[type[OpenSpielGame], tuple[str, dict[str, object]]]:
        return type(self), (self.name, self.parameters)

    @property
    def perfect_information(self) -> bool:
        return bool(self.game.get_type().information.name == "PERFECT_INFORMATION")

    @property
    def utility(self) -> Utility:
        kinds: dict[str, Utility] = {"ZERO_SUM": "zero_sum", "IDENTICAL": "common_payoff"}
        return kinds.get(self.game.get_type().utility.name, "general_sum")

    @property
    def spec(self) -> GameSpec:
        return GameSpec(
            name=f"openspiel:{self.name}",
            num_players=self.game.num_players(),
            num_actions=self.game.num_distinct_actions(),
            symmetric=False,
            utility=self.utility,
            return_range=(self.game.min_utility(), self.game.max_utility()),
        )

    @property
    def brief(self) -> GameBrief:
        spec, kind = self.spec, self.game.get_type()
        text = "this player's information state" if kind.provides_information_state_string else "what it observes"
        by_distribution = spec.num_actions <= _DISTRIBUTION_ACTIONS
        act = _ACT_BY_DISTRIBUTION.format(num_actions=spec.num_actions) if by_distribution else _ACT_BY_DRAWING
        return GameBrief(
            rules=self._rules(),
            policy_api=policy_class_api(
                _ACT_RETURNS.format(num_actions=spec.num_actions),
                _OBSERVATION.format(text=text, history=_HISTORY if self.perfect_information else ""),
            ),
            seed_program=_SEED_PROGRAM.replace("{act}", act),
            smoke_observations=self._smoke_observations(),
        )

    def _rules(self) -> str:
        kind = self.game.get_type()
        traits = [
            kind.dynamics.name.lower(),
            "with chance" if kind.chance_mode.name != "DETERMINISTIC" else "without chance",
            kind.information.name.lower().replace("_", " "),
            kind.utility.name.lower().replace("_", " "),
        ]
        settings = ", ".join(f"{key} = {value}" for key, value in sorted(self.game.get_parameters().items()))
        low, high = self.spec.return_range
        return _RULES.format(
            long_name=kind.long_name,
            name=self.name,
            players=f"{self.game.num_players()} players",
            words=_WORDS.get(self.name, ""),
            kind=f"It is {', '.join(traits)}." + (f" Its settings: {settings}." if settings else ""),
            actions=f"Actions are numbered 0 to {self.game.num_distinct_actions() - 1}.",
            low=low,
            high=high,
        )

    def _smoke_observations(self) -> tuple[Observation, ...]:
        """Player 0's first observations in the first random match in which it has any."""
        for seed in range(_SMOKE_SEEDS):
            rng = np.random.default_rng(seed)
            episode = self.new_episode(rng)
            seen: list[Observation] = []
            while len(seen) < _SMOKE_OBSERVATIONS and (pending := episode.pending()):
                seen += [observation for player, observation in pending.items() if player == 0]
                episode.step({player: int(rng.choice(episode.legal_actions(player))) for player in pending})
            if seen:
                return tuple(seen)
        return ()

    def new_episode(self, rng: np.random.Generator) -> OpenSpielEpisode:
        return OpenSpielEpisode(self, rng)

    def reference_population(self) -> Mapping[str, PolicyFactory]:
        """Uniform, constant and, where they fit, CFR+ and MCTS: see :mod:`games.openspiel_references`."""
        from games.openspiel_references import references

        return references(self)


class OpenSpielEpisode:
    """One match in progress."""

    def __init__(self, game: OpenSpielGame, rng: np.random.Generator) -> None:
        self._game = game
        self._num_players = game.game.num_players()
        self._rng = rng
        self._state = game.game.new_initial_state()
        self._own_actions: list[list[int]] = [[] for _ in range(self._num_players)]
        self._draw_chance()

    def _draw_chance(self) -> None:
        while self._state.is_chance_node():
            outcomes, probabilities = zip(*self._state.chance_outcomes(), strict=True)
            p = np.array(probabilities)
            self._state.apply_action(int(self._rng.choice(outcomes, p=p / p.sum())))

    def _actors(self) -> list[int]:
        if self._state.is_terminal():
            return []
        if self._state.is_simultaneous_node():
            return [player for player in range(self._num_players) if self._state.legal_actions(player)]
        return [self._state.current_player()]

    def legal_actions(self, player: int) -> list[int]:
        return [int(action) for action in self._state.legal_actions(player)]

    def pending(self) -> Mapping[int, Observation]:
        return {p: observe(self._game, self._state, p, self._own_actions[p]) for p in self._actors()}

    def step(self, actions: Mapping[int, int]) -> None:
        actors = self._actors()
        if not actors:
            raise ValueError("the match is over")
        if set(actions) != set(actors):
            raise ValueError(f"players {actors} act, not {sorted(actions)}")
        for player, action in actions.items():
            if action not in self.legal_actions(player):
                raise ValueError(f"action {action!r} of player {player} is illegal")
            self._own_actions[player].append(int(action))
        if self._state.is_simultaneous_node():
            # A player without a choice still has an entry.
            self._state.apply_actions([int(actions.get(player, 0)) for player in range(self._num_players)])
        else:
            self._state.apply_action(int(actions[actors[0]]))
        self._draw_chance()

    def returns(self) -> FloatArray:
        return np.array(self._state.returns(), dtype=np.float64)


def observe(game: OpenSpielGame, state: Any, player: int, own_actions: Sequence[int]) -> dict[str, object]:
    """What ``player`` sees in a ``pyspiel.State`` after its ``own_actions``."""
    legal = [int(action) for action in state.legal_actions(player)]
    with_information_state = game.game.get_type().provides_information_state_string
    observation: dict[str, object] = {
        "player": player,
        "num_players": game.game.num_players(),
        "legal_actions": legal,
        "legal_action_strings": [state.action_to_string(player, action) for action in legal],
        "text": state.information_state_string(player) if with_information_state else state.observation_string(player),
        "my_actions": list(own_actions),
    }
    if game.perfect_information:
        observation["history"] = [int(action) for action in state.history()]
    return observation


def _load(name: str, parameters: Mapping[str, object]) -> Any:
    """The ``pyspiel.Game``. Raises :class:`games.registry.GameError` if it does not exist or cannot be played here."""
    import pyspiel

    from games.registry import GameError, near_matches

    known = {kind.short_name: kind for kind in pyspiel.registered_games()}
    if name not in known:
        raise GameError(f"OpenSpiel has no game {name!r}{near_matches(name, known)}")
    kind = known[name]
    for parameter in parameters:
        if parameter not in kind.parameter_specification:
            hint = near_matches(parameter, kind.parameter_specification) if kind.parameter_specification else ""
            raise GameError(f"openspiel:{name} has no parameter {parameter!r}{hint}")
    try:
        game = pyspiel.load_game(name, dict(parameters))
    except (pyspiel.SpielError, TypeError) as error:
        raise GameError(f"openspiel:{name} does not take {dict(parameters)}: {str(error).splitlines()[-1]}") from None
    if unfit := _unfit(game.get_type()):
        raise GameError(f"openspiel:{name} cannot be played here: {unfit}")
    return game


def _unfit(kind: Any) -> str:
    """Why a game of this type cannot be played, or ``""``."""
    if kind.dynamics.name not in ("SEQUENTIAL", "SIMULTANEOUS"):
        return f"its dynamics are {kind.dynamics.name.lower()}"
    if kind.chance_mode.name == "SAMPLED_STOCHASTIC":
        return "it draws its own chance, so that matches would not be reproducible"
    if not (kind.provides_information_state_string or kind.provides_observation_string):
        return "it has no text to show a policy"
    return ""


def openspiel_game(name: str, **parameters: object) -> OpenSpielGame:
    """The game ``openspiel:name``, with exact values if it is small. Raises :class:`games.registry.GameError` with near
    matches."""
    from games.openspiel_exact import SmallOpenSpielGame, is_small

    game = OpenSpielGame(name, parameters)
    return SmallOpenSpielGame(name, parameters) if is_small(game) else game


GAME_FAMILIES: Mapping[str, Callable[..., Game]] = {"openspiel": openspiel_game}
ALIASES: Mapping[str, str] = {"kuhn": "openspiel:kuhn_poker"}
