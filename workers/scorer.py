"""What runs in a scoring process: one referee with its sandbox, and the game. Behind Ray or in a local process pool."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

from evolve.baselines.registry import baseline_policies
from evolve.match_scorer import score
from evolve.pibr_profile import ProfileMatches, play_profile, score_in_profile
from evolve.program import Program
from evolve.reinforcement.core import Trained, TrainingFailedError, TrainingStage
from evolve.scoring import Evaluation, ScoringTask
from games.core import FloatArray, Game, Observation, PolicyFactory
from games.match import IllegalMoveError, play_match
from games.registry import make_game
from games.seeds import match_seed
from games.stationary import Ask, StationaryGame, asker, exact_population_returns, stationary_table
from sandbox.faults import Fault, SandboxError
from sandbox.isolation import IsolationReport
from sandbox.limits import Limits
from sandbox.referee import Referee
from workers.experiment import GameSettings

Player = Program | str
"""An untrusted program, or the name of a member of the game's reference population."""


@dataclass(frozen=True)
class ScorerConfig:
    game: GameSettings
    limits: Limits


@dataclass(frozen=True)
class Core:
    """A processor core to stay on (``None``: any), its own for as long as ``claim`` is open."""

    number: int | None
    claim: socket.socket | None = None


def claim_core(index: int) -> Core:
    """A core that fewest scoring processes of this machine have, those of other runs included; of several, the one that
    ``index`` comes to. The claim is a name in the kernel, so it ends with the process, however that ends."""
    if not hasattr(os, "sched_getaffinity"):
        return Core(None)
    cores = sorted(os.sched_getaffinity(0))
    cores = cores[index % len(cores) :] + cores[: index % len(cores)]
    for place in itertools.count():  # ends: no machine has processes without end
        core = cores[place % len(cores)]
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0csro-core-{core}-{place // len(cores)}")
            break
        except OSError:
            claim.close()
    return Core(core, claim)


class ScoringProcess:
    """Keeps one referee for all its work. Not safe for threads: one call at a time."""

    def __init__(self, config: ScorerConfig, index: int) -> None:
        self._game = make_game(config.game.name, **config.game.parameters)
        self._limits = config.limits
        self._core = claim_core(index)
        self._own_referee: Referee | None = None
        self._refusal = ""
        try:
            self._own_referee = Referee(config.limits, core=self._core.number)
        except SandboxError as error:
            self._refusal = str(error)

    @property
    def _referee(self) -> Referee:
        """Raises :class:`SandboxError` at every piece of work, and not at the start, where no pool could tell why."""
        if self._own_referee is None:
            raise SandboxError(self._refusal)
        return self._own_referee

    def isolation(self) -> IsolationReport:
        """The level that a canary proved in this process. Raises :class:`SandboxError` if it is below the minimum."""
        return self._referee.isolation

    def score(self, program: Program, task: ScoringTask) -> Evaluation:
        play = score_in_profile if task.in_profile else score
        return play(self._referee, self._game, program, task, self._limits)

    def train(self, stage: TrainingStage) -> Trained:
        """Raises :class:`TrainingFailedError`, also where this machine lacks the extra."""
        os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the first to train would take a graphics card's whole memory
        try:
            from evolve.reinforcement.training import train  # JAX takes a second to load
        except ImportError as error:
            machine = socket.gethostname()
            raise TrainingFailedError(f"{machine} lacks JAX ({error}): pip install 'csro[reinforcement]'") from error
        return train(self._referee, self._game, stage, self._limits)

    def play_profile(self, programs: Sequence[Program], seeds: Sequence[int]) -> ProfileMatches:
        """One match a seed between the programs of all seats."""
        return play_profile(self._referee, self._game, programs, seeds, self._limits)

    def play(
        self, players: Sequence[Player], seeds: Sequence[int], keep_seats: bool = False
    ) -> list[tuple[float, ...] | Fault]:
        """Returns of all players in one match per seed; in symmetric games of two, odd matches swap the seats, unless
        they are to be kept."""
        if keep_seats or not self._game.spec.swaps_seats:
            return self._matches(players, seeds)
        results: list[tuple[float, ...] | Fault] = [()] * len(seeds)
        results[0::2] = self._matches(players, seeds[0::2])
        results[1::2] = map(_swapped, self._matches(players[::-1], seeds[1::2]))
        return results

    def exact_returns(self, player: Player, seat: int) -> dict[str, float] | None:
        """Exact return in ``seat``, or where seats are swapped on average of both, against each member of the reference
        population.

        ``None`` where the game has none, or the player's moves depend on more than the information set."""
        game = self._game
        if not isinstance(game, StationaryGame):
            return None
        seats = (0, 1) if game.spec.swaps_seats else (seat,)
        try:
            return exact_population_returns(game, partial(self._asker, player), seats)
        except (_FaultyError, IllegalMoveError):
            return None  # it may need the order of a real match: matches will tell

    def table(self, player: Player, seat: int) -> FloatArray | None:
        """The player's policy in ``seat`` as :func:`games.stationary.stationary_table`; ``None`` as above."""
        if not isinstance(self._game, StationaryGame):
            return None
        try:
            return stationary_table(self._game, self._asker(player, seat), seat)
        except (_FaultyError, IllegalMoveError):
            return None

    def _asker(self, player: Player, seat: int) -> Ask:
        if isinstance(player, str):
            return asker(reference_players(self._game)[player], seat)
        return partial(self._ask, player, seat)

    def _ask(self, program: Program, seat: int, observations: Sequence[Observation], seed: int) -> Sequence[object]:
        moves = self._referee.ask(self._game, program.source, seat, observations, seed, self._limits)
        if isinstance(moves, Fault):
            raise _FaultyError(moves.detail)
        return moves

    def _matches(self, players: Sequence[Player], seeds: Sequence[int]) -> list[tuple[float, ...] | Fault]:
        if not seeds:
            return []
        seated = [self._seat(player) for player in players]
        trusted = [player for player in seated if not isinstance(player, Program)]
        if len(trusted) == len(seated):
            return [tuple(map(float, play_match(self._game, trusted, seed))) for seed in seeds]
        played = self._referee.play(self._game, seated, seeds=seeds, limits=self._limits)
        return [result if isinstance(result, Fault) else result.returns for result in played]

    def _seat(self, player: Player) -> Program | PolicyFactory:
        return player if isinstance(player, Program) else reference_players(self._game)[player]


def _swapped(outcome: tuple[float, ...] | Fault) -> tuple[float, ...] | Fault:
    return replace(outcome, player=1 - outcome.player) if isinstance(outcome, Fault) else outcome[::-1]


class _FaultyError(Exception):
    """A program failed while it was asked for its moves."""


def reference_players(game: Game) -> Mapping[str, PolicyFactory]:
    """The reference population, the game's other named policies where it has any, and the baselines that play it."""
    others: Mapping[str, PolicyFactory] = game.reference_policies() if isinstance(game, _NamedPolicies) else {}
    return {**baseline_policies(game), **others, **game.reference_population()}


@runtime_checkable
class _NamedPolicies(Protocol):
    def reference_policies(self) -> Mapping[str, PolicyFactory]: ...


def matches_against(seed: int, opponent: str, matches: int, member: int = 0) -> list[int]:
    """Seeds of an evaluation's matches against one bot. Members of a mixture, counted from 0, have seeds of their own:
    the standard error of the mixture takes their matches for independent."""
    own = (member,) if member else ()
    return [match_seed(seed, "population", opponent, k, *own) for k in range(matches)]
