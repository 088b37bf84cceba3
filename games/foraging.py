"""Level-Based Foraging, with the end penalty that the PIBR paper adds: players share a board and must load together.

A player's return is the rewards of ``lbforaging`` less ``time_penalty * T / max_steps`` at the end, for an episode of
``T`` steps. The paper says only that its penalty is "inversely proportional to the episode length"; read to the
letter that would pay for slowness, so the penalty here grows with T. The social welfare is the sum of returns,
``1 - players * time_penalty * T / max_steps`` for an emptied board, so E[T*] = 5.409 gives SW* = 0.784 on 5x5.

Returns are each player's own (``general_sum``), not the team's: rewards follow the players' levels, in the original
and in the paper, and where a task is not cooperative players do compete. Seats are exchangeable (``symmetric``): cells
and levels are drawn alike for all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from games.briefs import common_rules
from games.core import FloatArray, Game, GameBrief, GameSpec, Observation, PolicyFactory
from games.foraging_core import MAX_STEPS, NUM_ACTIONS, Board, ForagingBoard, ForagingTask
from games.foraging_optimum import fewest_steps, is_solved, optimum
from games.foraging_policies import reference_population
from games.foraging_reference import OriginalBoard, require_lbforaging

Engine = Literal["core", "lbforaging"]
_EXACT_SIZE = 10
"""Boards up to this side have their optimum computed for a summary; the work grows with the sixth power."""

_RULES = """\
Level-Based Foraging: {num_players} players on a grid of {size}x{size} cells with up to {num_foods} foods.
Cells are (row, column), both from 0 to {last}; row 0 is north, column 0 is west. Players and foods have levels.
At each step all players choose one action at the same time:
0 none, 1 north (row - 1), 2 south (row + 1), 3 west (column - 1), 4 east (column + 1), 5 load.
A move off the grid or into a food does nothing. Players who choose the same cell all stay where they are; a player who
stays keeps others out. Two players may swap cells or follow each other.
Players beside a food (sharing a side with it) who choose load at the same step take it if their levels add up to its
level or more; otherwise nothing happens. {need}
Foods never lie on the border, touch each other or share a neighbouring cell.
A food taken is worth its level divided by the sum of all food levels at the start; its loaders share that in proportion
to their levels. An episode ends when no food is left, at most after {max_steps} steps. At the end every player pays
{time_penalty:g} * T / {max_steps} for an episode of T steps: being fast matters.
A player's return is its rewards less what it pays; the social welfare is the sum over players."""

_NEED = """Each food's level is {cooperative}the sum of the {lowest} levels."""
_BOTH = " Both must load it together."

_POLICY_API = """\
def policy(history): ...   # the action, an int from 0 to 5, or a list of 6 probabilities that add to 1

history is a dict:
  "state": list of states, oldest first; state[-1] is now. A state is a list of int, [row, column, level] for each
      of {num_foods} foods, then for each of {num_players} players by seat. Foods left come first in reading order, so
      their places shift when one is taken; each missing food is [-1, -1, 0].
  "action": list of joint actions so far, oldest first, each a list of {num_players} int by seat
  "player": int, the seat to decide for
  "num_players", "max_steps": int; "grid": [rows, columns]
These functions may be called without an import; x is the row and y the column:
  parse_grid_state(state, num_agents={num_players}) -> dict with "foods", a list of dict with x, y, level, alive, and
      "agents", a list of dict with x, y, level
  is_adjacent((x, y), (x, y)) -> bool
  can_joint_load_any_food_two_agents(agent0, agent1, foods) -> dict with "can", "food_index", "food"
  build_occupied_positions(foods, agents, exclude_agent_idx=None) -> set of (x, y)
  get_valid_moves(me, foods, other, rows, columns, include_load=True) -> list of actions, without 0
A class Policy with __init__(self, player, seed) and act(self, history) may be written instead where something has to be
remembered.
{common}"""

_SEED_PROGRAM = '''\
def policy(history):
    """Walks towards the nearest food, along the longer side first, and loads beside it."""
    state = history["state"][-1]
    cells = [state[i : i + 3] for i in range(0, len(state), 3)]
    num_foods = len(cells) - history["num_players"]
    foods = [cell for cell in cells[:num_foods] if cell[2] > 0]
    row, column, level = cells[num_foods + history["player"]]
    # EVOLVE-BLOCK-START
    distances = [abs(food[0] - row) + abs(food[1] - column) for food in foods]
    target = foods[distances.index(min(distances))]
    down = target[0] - row
    right = target[1] - column
    if abs(down) + abs(right) == 1:
        return 5
    if abs(down) > abs(right):
        return 2 if down > 0 else 1
    return 4 if right > 0 else 3
    # EVOLVE-BLOCK-END
'''


@dataclass(frozen=True)
class ForagingSummary:
    """Figures of many matches of one profile. ``collected`` is the mean part of the food taken (by level);
    ``efficiency`` is E[T*] / E[T], ``None`` where the optimum is not computed."""

    matches: int
    mean_steps: float
    completion_rate: float
    collected: float
    social_welfare: float
    efficiency: float | None


class ForagingGame:
    """One task. ``engine`` says which implementation of the same rules plays: the fast ``core`` or ``lbforaging``."""

    def __init__(self, task: ForagingTask, time_penalty: float = 1.0, engine: Engine = "core") -> None:
        if isinstance(time_penalty, bool) or not isinstance(time_penalty, int | float) or not 0 <= time_penalty < 1e6:
            raise ValueError(f"time_penalty must be a number from 0 on, not {time_penalty!r}")
        if engine not in get_args(Engine):
            raise ValueError(f"engine must be 'core' or 'lbforaging', not {engine!r}")
        if engine == "lbforaging":
            require_lbforaging()
        self.task = task
        self.time_penalty = float(time_penalty)
        self.engine = engine

    @property
    def spec(self) -> GameSpec:
        return GameSpec(
            name=self.task.name,
            num_players=self.task.num_players,
            num_actions=NUM_ACTIONS,
            symmetric=True,
            utility="general_sum",
            return_range=(-self.time_penalty, 1.0),
        )

    @property
    def brief(self) -> GameBrief:
        task = self.task
        pair = task.num_players == 2
        need = _NEED.format(
            cooperative="" if task.cooperative else "drawn from 1 to ",
            lowest="two players'" if pair else "three lowest players'",
        )
        rules = _RULES.format(
            **_words(task),
            last=task.size - 1,
            need=need + _BOTH if pair and task.cooperative else need,
            time_penalty=self.time_penalty,
        )
        return GameBrief(
            rules=rules,
            policy_api=_POLICY_API.format(**_words(task), common=common_rules()),
            seed_program=_SEED_PROGRAM,
            smoke_observations=self._smoke_observations(),
        )

    def _smoke_observations(self) -> tuple[Observation, ...]:
        """The start and three steps of one board."""
        episode = ForagingEpisode(self, ForagingBoard.spawn(self.task, np.random.default_rng(0)))
        observations = []
        for step in range(4):
            observations.append(copy.deepcopy(episode.pending()[0]))
            episode.step({seat: 1 + (step + seat) % 4 for seat in range(self.task.num_players)})
        return tuple(observations)

    def new_episode(self, rng: np.random.Generator) -> ForagingEpisode:
        """A board spawned from ``rng``: the same one whichever engine plays it."""
        board = ForagingBoard.spawn if self.engine == "core" else OriginalBoard
        return ForagingEpisode(self, board(self.task, rng))

    def reference_population(self) -> Mapping[str, PolicyFactory]:
        return reference_population(self.task)

    def best_welfare(self, rng: np.random.Generator) -> float | None:
        """``1 - players * time_penalty * T* / max_steps`` of the board that ``rng`` spawns, by joint planning;
        ``None`` where no optimum is computed, or ``max_steps`` are too few to empty the board."""
        task = self.task
        if not is_solved(task) or task.size > _EXACT_SIZE:
            return None
        steps = fewest_steps(ForagingBoard.spawn(task, rng))
        return None if steps > task.max_steps else 1 - task.num_players * self.time_penalty * steps / task.max_steps

    def summary(self, returns: FloatArray, num_moves: Sequence[int]) -> ForagingSummary:
        """From the returns ``(matches, num_players)`` and each match's number of moves, all players' together."""
        if len(returns) == 0 or len(returns) != len(num_moves):
            raise ValueError(f"{len(returns)} returns and {len(num_moves)} numbers of moves; both of the same matches")
        steps = np.array(num_moves) / self.task.num_players
        welfare = np.asarray(returns).sum(axis=1)
        collected = welfare + self.task.num_players * self.time_penalty * steps / self.task.max_steps
        task = self.task
        exact = is_solved(task) and task.size <= _EXACT_SIZE
        return ForagingSummary(
            matches=len(returns),
            mean_steps=float(steps.mean()),
            completion_rate=float((collected > 1 - 1e-6).mean()),
            collected=float(collected.mean()),
            social_welfare=float(welfare.mean()),
            efficiency=float(optimum(task).mean_steps) / float(steps.mean()) if exact else None,
        )


def _words(task: ForagingTask) -> dict[str, int]:
    return {
        "size": task.size,
        "num_players": task.num_players,
        "num_foods": task.num_foods,
        "max_steps": task.max_steps,
    }


class ForagingEpisode:
    """One match in progress. The lists of its observations are live: they grow between calls."""

    def __init__(self, game: ForagingGame, board: Board) -> None:
        self._game = game
        self._board = board
        self._returns = np.zeros(game.task.num_players)
        self._actions: list[list[int]] = []
        self._states = [board.observe()]
        common = {
            "state": self._states,
            "action": self._actions,
            "num_players": game.task.num_players,
            "max_steps": game.task.max_steps,
            "grid": [game.task.size, game.task.size],
        }
        self._pending: dict[int, Observation] = {seat: {**common, "player": seat} for seat in range(len(self._returns))}

    def pending(self) -> Mapping[int, Observation]:
        return {} if self._board.over else self._pending

    def step(self, actions: Mapping[int, int]) -> None:
        if self._board.over:
            raise ValueError("the match is over")
        joint = [actions.get(seat, -1) for seat in self._pending]
        if len(actions) != len(joint) or not all(action in range(NUM_ACTIONS) for action in joint):
            raise ValueError(f"each of {len(joint)} players has an action from 0 to 5, not {dict(actions)!r}")
        joint = [int(action) for action in joint]
        self._returns += self._board.step(joint)
        self._actions.append(joint)
        self._states.append(self._board.observe())
        if self._board.over:
            self._returns -= self._game.time_penalty * self._board.steps / self._game.task.max_steps

    def returns(self) -> FloatArray:
        return self._returns.copy()


def foraging(task: str, time_penalty: float = 1.0, engine: Engine = "core", max_steps: int = MAX_STEPS) -> ForagingGame:
    """The game of any task: ``foraging:6x6-2p-2f-coop``."""
    return ForagingGame(ForagingTask.parse(task, max_steps), time_penalty, engine)


def _registered(task: str) -> Callable[..., Game]:
    def make(time_penalty: float = 1.0, engine: Engine = "core", max_steps: int = MAX_STEPS) -> Game:
        return foraging(task, time_penalty, engine, max_steps)

    return make


PAPER_TASK = "Foraging-5x5-2p-2f-coop-v3"
TASKS = (PAPER_TASK, "Foraging-8x8-2p-2f-coop-v3", "Foraging-10x10-3p-3f-v3", "Foraging-15x15-4p-5f-v3")

GAMES: Mapping[str, Callable[..., Game]] = {task: _registered(task) for task in TASKS}
GAME_FAMILIES: Mapping[str, Callable[..., Game]] = {"foraging": foraging}
ALIASES = {"foraging": PAPER_TASK}
