"""Bimatrix games, played once or repeatedly, with the three coordination games of the PIBR paper.

``climbing`` and ``penalty`` come in two forms: ``paper`` as the PIBR paper prints them, and ``standard`` as in
Claus & Boutilier 1998. The paper's climbing game is the standard one with the roles exchanged, its penalty game
the standard one with the columns reversed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from games.briefs import common_rules
from games.core import FloatArray, Game, GameBrief, GameSpec, Observation, PolicyFactory, Utility

MAX_ROUNDS = 10_000

_RULES = """\
A matrix game of two players, {rounds}. Player 0 chooses a row and player 1 a column at the same time. Player 0
has the actions 0 to {last_row}, player 1 the actions 0 to {last_column}.
{payoffs}
A player's return is the sum of its payoffs over the match."""

_COMMON_PAYOFF = """\
Both players receive the same payoff, the entry at (row, column):
{row}"""

_BIMATRIX = """\
Payoff of player 0 at (row, column):
{row}
Payoff of player 1 at (row, column):
{column}"""

_POLICY_API = """\
def policy(history): ...   # a distribution over the own actions, as a list of {num_actions} probabilities

history is a dict:
  "state": list of int, all 0: a matrix game has one state; its last entry is the state now
  "action": list of [row, column], the joint actions so far, oldest first (empty in the first round)
  "player": int, the seat to decide for: 0 chooses rows, 1 chooses columns{legal}
The probabilities add to 1; an int stands for that action alone. A class Policy with __init__(self, player, seed)
and act(self, history) may be written instead where something has to be remembered.
{common}"""

_LEGAL_ACTIONS = """
  "legal_actions": list of int, the seat's own actions; every other one has probability 0"""

_SEED_PROGRAM = '''\
def policy(history):
    """Plays every action with the same probability."""
    # EVOLVE-BLOCK-START
    weights = {weights}
    # EVOLVE-BLOCK-END
    weights = [max(0.0, w) for w in weights]{mask}
    total = sum(weights)
    if total == 0:
        return 0
    return [w / total for w in weights]
'''

_MASK = """
    weights = [w if a in history["legal_actions"] else 0.0 for a, w in enumerate(weights)]"""


def _payoff_matrix(values: object, what: str) -> FloatArray:
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be a matrix of numbers with rows of one length, not {values!r}") from None
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all():
        raise ValueError(f"{what} must be a matrix of finite numbers, not {values!r}")
    matrix.setflags(write=False)
    return matrix


class MatrixGame:
    """A bimatrix game. ``row[a0, a1]`` and ``column[a0, a1]`` are the payoffs of players 0 and 1.

    ``column`` defaults to ``row`` (common payoff). Over ``num_rounds`` rounds a return is the sum of payoffs.
    """

    def __init__(self, name: str, row: object, column: object = None, num_rounds: int = 1) -> None:
        self.row = _payoff_matrix(row, "row")
        self.column = self.row if column is None else _payoff_matrix(column, "column")
        if self.row.shape != self.column.shape:
            raise ValueError(f"row is {self.row.shape} and column is {self.column.shape}; they must agree")
        if type(num_rounds) is not int or not 1 <= num_rounds <= MAX_ROUNDS:
            raise ValueError(f"num_rounds must be an integer from 1 to {MAX_ROUNDS}, not {num_rounds!r}")
        self.name = name
        self.num_rounds = num_rounds

    @property
    def utility(self) -> Utility:
        if np.array_equal(self.row, self.column):
            return "common_payoff"
        return "zero_sum" if not (self.row + self.column).any() else "general_sum"

    @property
    def spec(self) -> GameSpec:
        low = min(self.row.min(), self.column.min())
        high = max(self.row.max(), self.column.max())
        return GameSpec(
            name=self.name,
            num_players=2,
            num_actions=max(self.row.shape),
            symmetric=self.row.shape[0] == self.row.shape[1] and np.array_equal(self.row, self.column.T),
            utility=self.utility,
            return_range=(float(low) * self.num_rounds, float(high) * self.num_rounds),
        )

    @property
    def brief(self) -> GameBrief:
        rows, columns = self.row.shape
        square = rows == columns
        num_actions = max(rows, columns)
        legal = "" if square else _LEGAL_ACTIONS
        return GameBrief(
            rules=_RULES.format(
                rounds="played once" if self.num_rounds == 1 else f"played {self.num_rounds} times in a match",
                last_row=rows - 1,
                last_column=columns - 1,
                payoffs=self._payoffs_in_words(),
            ),
            policy_api=_POLICY_API.format(num_actions=num_actions, legal=legal, common=common_rules()),
            seed_program=_SEED_PROGRAM.format(weights=[1.0] * num_actions, mask="" if square else _MASK),
            smoke_observations=self._smoke_observations(),
        )

    def _payoffs_in_words(self) -> str:
        row, column = (
            "\n".join(f"  row {a}: [{', '.join(f'{value:g}' for value in line)}]" for a, line in enumerate(matrix))
            for matrix in (self.row, self.column)
        )
        if self.utility == "common_payoff":
            return _COMMON_PAYOFF.format(row=row)
        return _BIMATRIX.format(row=row, column=column)

    def _smoke_observations(self) -> tuple[Observation, ...]:
        rows, columns = self.row.shape
        played = [[t % rows, (t + 1) % columns] for t in range(min(self.num_rounds, 4) - 1)]
        return tuple(self._observation(played[:t], 0) for t in range(len(played) + 1))

    def _observation(self, actions: Sequence[Sequence[int]], player: int) -> Observation:
        observation: dict[str, object] = {
            "state": [0] * (len(actions) + 1),
            "action": [list(joint) for joint in actions],
            "player": player,
        }
        if self.row.shape[0] != self.row.shape[1]:
            observation["legal_actions"] = list(range(self.row.shape[player]))
        return observation

    def new_episode(self, rng: np.random.Generator) -> MatrixEpisode:
        """One match. ``rng`` stays untouched: the rules hold no chance."""
        return MatrixEpisode(self)

    def reference_population(self) -> Mapping[str, PolicyFactory]:
        """The uniform distribution and every action alone (``uniform``, ``always_0``, ...)."""
        uniform: dict[str, PolicyFactory] = {"uniform": partial(_Stationary, self.row.shape, None)}
        return uniform | {f"always_{a}": partial(_Stationary, self.row.shape, a) for a in range(min(self.row.shape))}

    def best_welfare(self, rng: np.random.Generator) -> float:
        """The best entry of both matrices together, in every round; ``rng`` stays untouched."""
        return float((self.row + self.column).max()) * self.num_rounds

    def expected_returns(self, p: FloatArray, q: FloatArray) -> FloatArray:
        """Exact returns ``(2,)`` when player 0 plays ``p`` and player 1 plays ``q`` in every round: pᵀMq."""
        values: FloatArray = np.array([p @ self.row @ q, p @ self.column @ q]) * self.num_rounds
        return values


class MatrixEpisode:
    """One match in progress."""

    def __init__(self, game: MatrixGame) -> None:
        self._game = game
        self._actions: list[tuple[int, int]] = []

    def pending(self) -> Mapping[int, Observation]:
        if len(self._actions) == self._game.num_rounds:
            return {}
        return {player: self._game._observation(self._actions, player) for player in (0, 1)}

    def step(self, actions: Mapping[int, int]) -> None:
        if len(self._actions) == self._game.num_rounds:
            raise ValueError(f"the match is over after {self._game.num_rounds} rounds")
        rows, columns = self._game.row.shape
        if set(actions) != {0, 1} or actions[0] not in range(rows) or actions[1] not in range(columns):
            raise ValueError(f"rows are 0 to {rows - 1}, columns 0 to {columns - 1}, not {dict(actions)!r}")
        self._actions.append((int(actions[0]), int(actions[1])))

    def returns(self) -> FloatArray:
        total = np.zeros(2)
        for joint in self._actions:
            total += self._game.row[joint], self._game.column[joint]
        return total


class _Stationary:
    """The same distribution in every round: one action, or uniform over the seat's own where ``action`` is None."""

    def __init__(self, shape: tuple[int, int], action: int | None, player: int, seed: int) -> None:
        own, longest = shape[player], max(shape)
        uniform = [1.0 / own] * own + [0.0] * (longest - own)
        self._move: int | list[float] = uniform if action is None else action

    def act(self, observation: Observation) -> int | list[float]:
        return self._move


def _in_form(form: str, paper: list[list[float]], standard: list[list[float]]) -> list[list[float]]:
    if form not in ("paper", "standard"):
        raise ValueError(f"form must be 'paper' or 'standard', not {form!r}")
    return paper if form == "paper" else standard


def vanilla(num_rounds: int = 1) -> MatrixGame:
    """Coordination on the diagonal, worth 2, 1 or 3 to each; the best social welfare is 6."""
    return MatrixGame("vanilla", [[2, 0, 0], [0, 1, 0], [0, 0, 3]], num_rounds=num_rounds)


def climbing(form: str = "paper", num_rounds: int = 1) -> MatrixGame:
    """Climbing: the optimum (0, 0), worth 11 to each, stands beside the worst entries; best social welfare 22."""
    paper: list[list[float]] = [[11, -30, 0], [-30, 7, 0], [0, 6, 5]]
    standard: list[list[float]] = [[11, -30, 0], [-30, 7, 6], [0, 0, 5]]
    return MatrixGame("climbing", _in_form(form, paper, standard), num_rounds=num_rounds)


def penalty(penalty: float = -2.0, form: str = "paper", num_rounds: int = 1) -> MatrixGame:
    """Penalty: two optima worth 10 to each that miss each other at ``penalty`` < 0; best social welfare 20."""
    if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not penalty < 0:
        raise ValueError(f"penalty must be a number below 0, not {penalty!r}")
    paper: list[list[float]] = [[penalty, 0, 10], [0, 2, 0], [10, 0, penalty]]
    standard: list[list[float]] = [[10, 0, penalty], [0, 2, 0], [penalty, 0, 10]]
    return MatrixGame("penalty", _in_form(form, paper, standard), num_rounds=num_rounds)


_MATCHING_PENNIES = ((1.0, -1.0), (-1.0, 1.0))


def bimatrix(row: object = _MATCHING_PENNIES, column: object = None, num_rounds: int = 1) -> MatrixGame:
    """Any bimatrix game; without arguments matching pennies. ``column`` alone missing means zero-sum."""
    first = _payoff_matrix(row, "row")
    return MatrixGame("bimatrix", first, -first if column is None else column, num_rounds)


GAMES: Mapping[str, Callable[..., Game]] = {
    "vanilla": vanilla,
    "climbing": climbing,
    "penalty": penalty,
    "bimatrix": bimatrix,
}
