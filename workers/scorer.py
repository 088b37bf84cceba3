"""What runs in a scoring process: one referee with its sandbox, and the game. Behind Ray or in a local process pool."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolve.match_scorer import score
from evolve.program import Program
from evolve.scoring import Evaluation, ScoringTask
from games.core import PolicyFactory
from games.match import play_match
from games.registry import make_game
from games.seeds import match_seed
from sandbox.faults import Fault
from sandbox.isolation import IsolationReport
from sandbox.limits import Limits
from sandbox.referee import Referee
from workers.settings import GameSettings

Player = Program | str
"""An untrusted program, or the name of a member of the game's reference population."""


@dataclass(frozen=True)
class ScorerConfig:
    game: GameSettings
    limits: Limits


class ScoringProcess:
    """Keeps one referee for all its work. Not safe for threads: one call at a time."""

    def __init__(self, config: ScorerConfig, index: int) -> None:
        self._game = make_game(config.game.name, **config.game.parameters)
        self._limits = config.limits
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        self._referee = Referee(config.limits, core=cores[index % len(cores)])

    def isolation(self) -> IsolationReport:
        """The level that a canary proved in this process."""
        return self._referee.isolation

    def score(self, program: Program, task: ScoringTask) -> Evaluation:
        return score(self._referee, self._game, program, task, self._limits)

    def head_to_head(self, first: Player, second: Player, seeds: Sequence[int]) -> list[tuple[float, float] | Fault]:
        """Returns of both players in one match per seed; in symmetric games odd matches swap the seats."""
        swap = self._game.spec.symmetric
        results: dict[int, tuple[float, float] | Fault] = {}
        for seat in (0, 1) if swap else (0,):
            mine = [k for k in range(len(seeds)) if not swap or k % 2 == seat]
            players = (first, second) if seat == 0 else (second, first)
            for k, outcome in zip(mine, self._matches(players, [seeds[k] for k in mine]), strict=True):
                if isinstance(outcome, Fault):
                    results[k] = outcome if seat == 0 else replace(outcome, player=1 - outcome.player)
                else:
                    results[k] = (outcome[seat], outcome[1 - seat])
        return [results[k] for k in range(len(seeds))]

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
        return player if isinstance(player, Program) else self._game.reference_population()[player]


def matches_against(seed: int, opponent: str, matches: int) -> list[int]:
    """Seeds of an evaluation's matches against one member of the population."""
    return [match_seed(seed, "population", opponent, k) for k in range(matches)]
