"""Reference policies for any OpenSpiel game: uniform, constant, CFR+ where it is small and MCTS where it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from games.core import Observation, PolicyFactory

if TYPE_CHECKING:
    from games.openspiel import OpenSpielGame

_CFR_STATES = 2000
_CFR_ITERATIONS = 1000
_MCTS_SIMULATIONS = 100
_MCTS_MEMORY_MB = 50
_UCT_C = 1.4

_Parameters = tuple[tuple[str, object], ...]


def references(game: OpenSpielGame) -> Mapping[str, PolicyFactory]:
    """Named factories, all picklable.

    ``cfr+`` needs a two-player zero-sum sequential game of at most 2000 states with information states, ``mcts_100``
    (100 simulations a move, random rollouts) a sequential one of perfect information.
    """
    num_actions = game.spec.num_actions
    found: dict[str, PolicyFactory] = {
        "uniform": partial(_Uniform, num_actions),
        "first_legal": partial(_Indexed, 0),
        "last_legal": partial(_Indexed, -1),
    }
    kind = game.game.get_type()
    key = (game.name, tuple(sorted(game.parameters.items())))
    if kind.dynamics.name != "SEQUENTIAL":
        return found
    solvable = game.utility == "zero_sum" and game.spec.num_players == 2 and kind.provides_information_state_string
    if solvable and has_at_most(game.game.new_initial_state(), _CFR_STATES):
        found["cfr+"] = partial(_CfrPlus, *key)
    if game.perfect_information:
        found[f"mcts_{_MCTS_SIMULATIONS}"] = partial(_Mcts, *key)
    return found


def has_at_most(root: Any, limit: int) -> bool:
    """Whether the tree below ``root`` holds no more than ``limit`` states; stops counting there."""
    stack, count = [root], 0
    while stack:
        state = stack.pop()
        count += 1
        if count > limit:
            return False
        if not state.is_terminal():
            stack += [state.child(action) for action in state.legal_actions()]
    return True


class _Uniform:
    def __init__(self, num_actions: int, player: int, seed: int) -> None:
        self._num_actions = num_actions

    def act(self, observation: Observation) -> list[float]:
        legal: Sequence[int] = observation["legal_actions"]  # type: ignore[assignment]
        probabilities = [0.0] * self._num_actions
        for action in legal:
            probabilities[action] = 1.0 / len(legal)
        return probabilities


class _Indexed:
    """Always the legal action at one place in the list."""

    def __init__(self, index: int, player: int, seed: int) -> None:
        self._index = index

    def act(self, observation: Observation) -> int:
        legal: Sequence[int] = observation["legal_actions"]  # type: ignore[assignment]
        return legal[self._index]


def _load(name: str, parameters: _Parameters) -> Any:
    import pyspiel

    return pyspiel.load_game(name, dict(parameters))


@cache
def cfr_plus(name: str, parameters: _Parameters) -> Mapping[str, list[float]]:
    """Average CFR+ strategy by information state, probabilities of all actions of the game."""
    import pyspiel

    game = _load(name, parameters)
    solver = pyspiel.CFRPlusSolver(game)
    for _ in range(_CFR_ITERATIONS):
        solver.evaluate_and_update_policy()
    average = solver.average_policy()
    table: dict[str, list[float]] = {}
    stack = [game.new_initial_state()]
    while stack:
        state = stack.pop()
        if state.is_terminal():
            continue
        if not state.is_chance_node():
            row = [0.0] * game.num_distinct_actions()
            for action, probability in average.action_probabilities(state).items():
                row[action] = probability
            table[state.information_state_string(state.current_player())] = row
        stack += [state.child(action) for action in state.legal_actions()]
    return table


class _CfrPlus:
    def __init__(self, name: str, parameters: _Parameters, player: int, seed: int) -> None:
        self._table = cfr_plus(name, parameters)

    def act(self, observation: Observation) -> list[float]:
        text: str = observation["text"]  # type: ignore[assignment]
        return self._table[text]


class _Mcts:
    """OpenSpiel's Monte Carlo tree search on the state that the public history leads to."""

    def __init__(self, name: str, parameters: _Parameters, player: int, seed: int) -> None:
        import pyspiel

        self._game = _load(name, parameters)
        seed %= 2**31
        self._bot = pyspiel.MCTSBot(
            self._game,
            pyspiel.RandomRolloutEvaluator(1, seed),
            _UCT_C,
            _MCTS_SIMULATIONS,
            _MCTS_MEMORY_MB,
            True,
            seed,
            False,
        )

    def act(self, observation: Observation) -> int:
        history: Sequence[int] = observation["history"]  # type: ignore[assignment]
        state = self._game.new_initial_state()
        for action in history:
            state.apply_action(action)
        return int(self._bot.step(state))
