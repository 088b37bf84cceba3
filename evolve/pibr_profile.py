"""Matches of a joint profile, one program in each seat: how PIBR scores a policy, and evaluates social welfare.

In one-shot matrix games returns are exact: each program is asked for its distribution, and the expected return is
pᵀMq. Elsewhere they are means over matches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evolve.match_scorer import is_audited
from evolve.pibr_trajectory import trajectories
from evolve.program import Program
from evolve.scoring import Evaluation, Failed, OpponentReturn, Scored, ScoringTask
from games.core import Game
from games.match import IllegalMoveError, move_distribution
from games.matrix import MatrixGame
from games.seeds import match_seed, seat_seed
from sandbox.audit import audit
from sandbox.faults import Fault
from sandbox.limits import Limits
from sandbox.lockstep import MatchRecord
from sandbox.referee import Referee

_PROBES = 2
"""Seeds under which a program must state one and the same distribution before its value counts as exact."""

Mixtures = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ProfileMatch:
    """One finished match: returns by seat, and the number of moves of all players together."""

    returns: tuple[float, ...]
    num_moves: int


@dataclass(frozen=True)
class ProfileMatches:
    """Matches of one profile in the order of their seeds; ``mixtures`` of one-shot matrix games, by seat."""

    matches: tuple[ProfileMatch | Fault, ...]
    mixtures: Mixtures | None = None


def play_profile(
    referee: Referee, game: Game, programs: Sequence[Program], seeds: Sequence[int], limits: Limits
) -> ProfileMatches:
    """Raises ``sandbox.faults.SandboxError`` if isolation cannot be had."""
    outcomes = referee.play(game, programs, seeds=seeds, limits=limits)
    matches = tuple(o if isinstance(o, Fault) else ProfileMatch(o.returns, o.num_moves) for o in outcomes)
    return ProfileMatches(matches, stated_mixtures(referee, game, programs, limits))


def one_shot(game: Game) -> MatrixGame | None:
    """The game as a matrix game that is played once, where expected returns are exact; ``None`` for any other."""
    return game if isinstance(game, MatrixGame) and game.num_rounds == 1 else None


def stated_mixtures(
    referee: Referee, game: Game, programs: Sequence[Program], limits: Limits
) -> Mixtures | None:
    """The distribution that each program plays in a one-shot matrix game.

    ``None`` in other games, and where a program fails or lets its seed decide."""
    matrix = one_shot(game)
    if matrix is None:
        return None
    pending = matrix.new_episode(np.random.default_rng(0)).pending()
    mixtures: list[tuple[float, ...]] = []
    for seat, program in enumerate(programs):
        stated: set[tuple[float, ...]] = set()
        for probe in range(_PROBES):
            moves = referee.ask(game, program.source, seat, [pending[seat]], seat_seed(probe, seat), limits)
            if isinstance(moves, Fault):
                return None
            try:
                stated.add(tuple(move_distribution(moves[0], matrix.spec.num_actions, _legal(pending[seat]))))
            except IllegalMoveError:
                return None
        if len(stated) > 1:
            return None
        mixtures.append(stated.pop())
    return tuple(mixtures)


def _legal(observation: object) -> Sequence[int] | None:
    legal: Sequence[int] | None = observation.get("legal_actions") if isinstance(observation, dict) else None
    return legal


def exact_returns(game: MatrixGame, mixtures: Mixtures) -> tuple[float, ...]:
    """pᵀMq for both players."""
    rows, columns = game.row.shape
    p, q = np.array(mixtures[0][:rows]), np.array(mixtures[1][:columns])
    return tuple(float(value) for value in game.expected_returns(p / p.sum(), q / q.sum()))


def score_in_profile(
    referee: Referee, game: Game, program: Program, task: ScoringTask, limits: Limits
) -> Evaluation:
    """The return in seat ``task.player`` with the task's one line-up, over ``task.matches_per_opponent`` matches.

    The first fault of the program ends its evaluation as :class:`Failed`. Where another seat fails, twice on the
    same seed, the match is forfeited and brings the least there is. Every candidate of a task meets the same seeds.
    """
    level = referee.isolation.level
    ((key, others),) = task.lineups().items()
    programs = [*others[: task.player], program, *others[task.player :]]
    numbers = range(task.first_match, task.first_match + task.matches_per_opponent)
    seeds = [match_seed(task.seed, "profile", k) for k in numbers]
    records: list[MatchRecord] = []
    for seed, played in zip(
        seeds, referee.play(game, programs, seeds=seeds, limits=limits, strict=task.strict), strict=True
    ):
        outcome = played
        if isinstance(outcome, Fault) and outcome.player != task.player:
            (outcome,) = referee.play(game, programs, seeds=[seed], limits=limits, strict=task.strict)
        if isinstance(outcome, Fault):
            if outcome.player == task.player:
                return Failed(outcome.stage.value, outcome.kind.value, outcome.traceback or outcome.detail, level)
            continue
        records.append(outcome)
    if is_audited(program, task) and records:
        result = audit(referee, game, program.source, records[0], task.player, limits=limits)
        if not result.ok:
            detail = f"a match replayed alone went otherwise: {result.detail}"
            return Failed("audit", "audit_mismatch", detail, level)
    mixtures = stated_mixtures(referee, game, programs, limits) if records else None
    scored = _scored(game, key, records, len(seeds) - len(records), mixtures, task.player)
    return replace(scored, level=level)


def _scored(
    game: Game, key: str, records: Sequence[MatchRecord], forfeits: int, mixtures: Mixtures | None, seat: int
) -> Scored:
    matrix = one_shot(game)
    welfare = tuple(float(sum(record.returns)) for record in records)
    text = trajectories(game, records, seat)
    if forfeits:
        text = f"{forfeits} matches were lost because another player's program failed.\n\n{text}".strip()
    if matrix is not None and mixtures is not None and not forfeits:
        exact = exact_returns(matrix, mixtures)
        mean, stderr = exact[seat], 0.0
        text = f"{_stated(mixtures, exact)}\n\n{text}"
    else:
        returns = np.array([r.returns[seat] for r in records] + [game.spec.return_range[0]] * forfeits)
        mean = float(returns.mean())
        stderr = float(returns.std(ddof=1)) / math.sqrt(len(returns)) if len(returns) > 1 else 0.0
    everyone = OpponentReturn(mean, stderr, len(records) + forfeits, forfeits)
    return Scored(mean, stderr, {key: everyone}, transcript=text, welfare=welfare)


def _stated(mixtures: Mixtures, exact: Sequence[float]) -> str:
    lines = [
        f"player {seat} plays [{', '.join(f'{p:.3g}' for p in mixture)}], expected return {value:+.4g} (exact)"
        for seat, (mixture, value) in enumerate(zip(mixtures, exact, strict=True))
    ]
    return "\n".join(lines)
