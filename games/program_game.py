"""Games of programs: a bimatrix game played once, by policies that see each other's source text.

Tennenholtz 2004, "Program equilibrium". An observation carries ``my_source`` and ``opponent_source``, and policies may
call ``simulate`` (:mod:`games.simulation`). Whoever plays a match binds the players' texts first
(:meth:`ProgramGame.with_sources`).

The reference programs hold for any bimatrix game. Cooperation is each player's part of the pure outcome with the
highest social welfare, and defection the pure action that leaves the opponent the least, best reply granted; in the
Prisoner's Dilemma those are what their names say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from games import program_texts
from games.core import FloatArray, Game, GameBrief, GameSpec, Move, Observation, PolicyFactory
from games.matrix import MatrixEpisode, MatrixGame
from games.simulation import MAX_DEPTH, Runner, SimulationLimits, SimulationService, TrustedRunner, instantiate


class ProgramGame:
    """A one-shot bimatrix game of programs. ``epsilon`` is that of the grounded FairBot (Oesterheld 2019) among the
    reference programs."""

    def __init__(
        self,
        matrix: MatrixGame,
        epsilon: float = 0.1,
        simulation: SimulationLimits = SimulationLimits(),  # noqa: B008  frozen
        sources: tuple[str, str] = ("", ""),
    ) -> None:
        if matrix.num_rounds != 1:
            raise ValueError(f"a game of programs is played once, not {matrix.num_rounds} times")
        if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon <= 1:
            raise ValueError(f"epsilon must be a number above 0, at most 1, not {epsilon!r}")
        self.matrix = matrix
        self.epsilon = float(epsilon)
        self.simulation = simulation
        self._sources = sources

    @property
    def spec(self) -> GameSpec:
        return self.matrix.spec

    @property
    def sources(self) -> tuple[str, str]:
        """The two players' texts, by seat."""
        return self._sources

    @property
    def num_actions(self) -> int:
        return self.matrix.spec.num_actions

    @property
    def cooperation(self) -> tuple[int, int]:
        """The pure outcome with the highest social welfare, the first of them by row and column."""
        welfare = self.matrix.row + self.matrix.column
        row, column = np.unravel_index(int(welfare.argmax()), welfare.shape)
        return int(row), int(column)

    @property
    def defection(self) -> tuple[int, int]:
        """Each player's pure action that minimises the opponent's best reply, the first of them."""
        return int(self.matrix.column.max(axis=1).argmin()), int(self.matrix.row.max(axis=0).argmin())

    def fallback(self, player: int) -> int:
        """Simulations out of fuel count as defection."""
        return self.defection[player]

    @property
    def brief(self) -> GameBrief:
        matrix = self.matrix.brief
        rows, columns = self.matrix.row.shape
        api = program_texts.policy_api(self.num_actions, rows == columns, self.simulation, self.defection)
        seed_program = program_texts.seed_program(self.num_actions, rows == columns)
        opponents = (seed_program, *self.reference_programs().values())
        seen = tuple(self.observation(0, seed_program, opponent) for opponent in opponents)
        return GameBrief(program_texts.rules(matrix.rules), api, seed_program, seen)

    def observation(self, player: int, own_source: str, opponent_source: str) -> Observation:
        """What a program sees, the same in a match and in a simulation."""
        seen = self.matrix.new_episode(np.random.default_rng(0)).pending()[player]
        return {**seen, "my_source": own_source, "opponent_source": opponent_source}

    def with_sources(self, sources: Sequence[str]) -> ProgramGame:
        """The same game with the two players' program texts in view; "" for one that has none."""
        first, second = sources
        return ProgramGame(self.matrix, self.epsilon, self.simulation, (first, second))

    def new_episode(self, rng: np.random.Generator) -> ProgramEpisode:
        """One match between the programs of ``sources``."""
        return ProgramEpisode(self, self.matrix.new_episode(rng))

    def reference_programs(self) -> Mapping[str, str]:
        """Their texts by name: see :mod:`games.program_texts`."""
        return program_texts.reference_programs(self.cooperation, self.defection, self.epsilon)

    def reference_population(self) -> Mapping[str, PolicyFactory]:
        """The reference programs, trusted, to run in the referee's own process."""
        texts = self.reference_programs()
        run = TrustedRunner(texts.values())
        return {name: TrustedProgram(self, text, run) for name, text in texts.items()}


@dataclass(frozen=True)
class TrustedProgram:
    """A policy factory whose opponents may read ``program_source``. It simulates through ``run``: by default other
    programs of this package alone; a referee binds one that also runs untrusted texts, in the sandbox."""

    game: ProgramGame
    program_source: str
    run: Runner

    def __call__(self, player: int, seed: int) -> TrustedProgramPolicy:
        return TrustedProgramPolicy(self, player, seed)

    def with_runner(self, run: Runner) -> TrustedProgram:
        return replace(self, run=run)


class TrustedProgramPolicy:
    """One match of a trusted program; ``simulations`` holds what it has used of its fuel."""

    def __init__(self, program: TrustedProgram, player: int, seed: int) -> None:
        self.simulations = SimulationService(program.game, seed, program.run)
        self._answer = instantiate(program.program_source, player, seed, self.simulations.for_seat(player))

    def act(self, observation: Observation) -> Move:
        return self._answer(observation)


class ProgramEpisode:
    """One match in progress."""

    def __init__(self, game: ProgramGame, episode: MatrixEpisode) -> None:
        self._game = game
        self._episode = episode

    def pending(self) -> Mapping[int, Observation]:
        sources = self._game.sources
        waiting = self._episode.pending()
        return {player: self._game.observation(player, sources[player], sources[1 - player]) for player in waiting}

    def step(self, actions: Mapping[int, int]) -> None:
        self._episode.step(actions)

    def returns(self) -> FloatArray:
        return self._episode.returns()


def _symmetric(name: str, row: Sequence[Sequence[float]], epsilon: float, limits: SimulationLimits) -> ProgramGame:
    return ProgramGame(MatrixGame(name, row, np.array(row).T), epsilon, limits)


def prisoners_dilemma(
    temptation: float = 5.0,
    reward: float = 3.0,
    punishment: float = 1.0,
    sucker: float = 0.0,
    epsilon: float = 0.1,
    max_calls: int = 256,
    max_depth: int = MAX_DEPTH,
) -> ProgramGame:
    """Open-source Prisoner's Dilemma: action 0 cooperates, 1 defects."""
    if not temptation > reward > punishment > sucker or not 2 * reward > temptation + sucker:
        raise ValueError(
            "a Prisoner's Dilemma has temptation > reward > punishment > sucker, 2 reward the most for two"
        )
    row = [[reward, sucker], [temptation, punishment]]
    return _symmetric("program_pd", row, epsilon, SimulationLimits(max_calls, max_depth))


def stag_hunt(epsilon: float = 0.1, max_calls: int = 256, max_depth: int = MAX_DEPTH) -> ProgramGame:
    """Open-source stag hunt: action 0 hunts the stag, which takes two, and 1 a hare."""
    return _symmetric("program_stag_hunt", [[4, 0], [3, 2]], epsilon, SimulationLimits(max_calls, max_depth))


def chicken(epsilon: float = 0.1, max_calls: int = 256, max_depth: int = MAX_DEPTH) -> ProgramGame:
    """Open-source chicken: action 0 swerves, 1 drives straight on."""
    return _symmetric("program_chicken", [[3, 1], [4, 0]], epsilon, SimulationLimits(max_calls, max_depth))


_BATTLE_OF_THE_SEXES = (((3.0, 0.0), (0.0, 2.0)), ((2.0, 0.0), (0.0, 3.0)))


def program_bimatrix(
    row: object = _BATTLE_OF_THE_SEXES[0],
    column: object = _BATTLE_OF_THE_SEXES[1],
    epsilon: float = 0.1,
    max_calls: int = 256,
    max_depth: int = MAX_DEPTH,
) -> ProgramGame:
    """Any bimatrix game between programs; without arguments the battle of the sexes."""
    return ProgramGame(MatrixGame("program_bimatrix", row, column), epsilon, SimulationLimits(max_calls, max_depth))


GAMES: Mapping[str, Callable[..., Game]] = {
    "program_pd": prisoners_dilemma,
    "program_stag_hunt": stag_hunt,
    "program_chicken": chicken,
    "program_bimatrix": program_bimatrix,
}
ALIASES = {"program_prisoners_dilemma": "program_pd"}
