"""Scores programs by matches in the sandbox: the trusted step between a child's source and its place in the archive."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evolve.behaviour import PROBE_MATCHES, Probe, fingerprint, traits
from evolve.program import Program
from evolve.scoring import Evaluation, Failed, OpponentReturn, Scored, ScoringTask
from evolve.transcript import transcript
from games.core import Game
from games.seeds import MATCH_SEED_BITS, match_seed
from sandbox.audit import audit
from sandbox.faults import Fault
from sandbox.limits import Limits
from sandbox.referee import Referee


@dataclass(frozen=True)
class _Duel:
    """Matches of a program against one opponent: its return in each, in the order of their seeds, and the records of
    those that opponents did not forfeit, the first ``PROBE_MATCHES`` of the task and one at least."""

    returns: Sequence[float]
    forfeits: int
    probes: Sequence[Probe]


def score(referee: Referee, game: Game, program: Program, task: ScoringTask, limits: Limits) -> Evaluation:
    """The program's return against the mixture of ``task``, stratified by opponent.

    Every line-up of opponents is met ``task.matches_per_opponent`` times, from alternating seats where they are
    swapped. The first fault of the program ends its evaluation as :class:`Failed`. An opponent that fails twice on one
    seed forfeits. A share of programs is audited: one match per opponent is replayed alone, and one that then moves
    otherwise fails. ``behaviour`` and ``traits`` are told of tasks that start with the first match.
    Raises ``sandbox.faults.SandboxError`` if isolation cannot be had.
    """
    before = referee.isolation.level
    evaluation = _evaluate(referee, game, program, task, limits)
    # A fork server that was lost meanwhile has been replaced; its successor's level is its own canary's.
    return replace(evaluation, level=min(before, referee.isolation.level))


def _evaluate(referee: Referee, game: Game, program: Program, task: ScoringTask, limits: Limits) -> Evaluation:
    by_opponent: dict[str, OpponentReturn] = {}
    duels: dict[str, _Duel] = {}
    for key, lineup in task.lineups().items():
        duel = _play(referee, game, program, key, lineup, task, limits)
        if isinstance(duel, Fault):
            return Failed(duel.stage.value, duel.kind.value, duel.traceback or duel.detail)
        duels[key] = duel
        by_opponent[key] = _summarise(duel)
    if is_audited(program, task) and (mismatch := _audit(referee, game, program, duels, limits)):
        return Failed("audit", "audit_mismatch", mismatch)
    worst = min(by_opponent, key=lambda i: by_opponent[i].mean)
    shown = duels[worst].probes[:1]
    found = replace(
        stratified(by_opponent, task),
        transcript=transcript(game, shown[0].record, shown[0].seat) if shown else "",
        transcript_opponent=worst if shown else "",
        returns={key: tuple(duel.returns) for key, duel in duels.items()},
    )
    if task.first_match > 0:
        return found
    probes = {key: duel.probes for key, duel in duels.items()}
    named = fingerprint(probes) if all(len(each) >= PROBE_MATCHES for each in probes.values()) else ""
    return replace(found, behaviour=named, traits=traits(probes, game.spec.num_actions))


def is_audited(program: Program, task: ScoringTask) -> bool:
    """Drawn by the program's id, so that whoever scores it decides alike."""
    drawn = match_seed(task.seed, "audit", program.id) < int(task.audit_share * 2**MATCH_SEED_BITS)
    return drawn and task.first_match == 0


def _audit(referee: Referee, game: Game, program: Program, duels: Mapping[str, _Duel], limits: Limits) -> str:
    """What the replay audit found; empty if every move was repeated."""
    for duel in duels.values():
        for shown in duel.probes[:1]:
            result = audit(referee, game, program.source, shown.record, shown.seat, limits=limits)
            if not result.ok:
                return f"a match replayed alone went otherwise: {result.detail}"
    return ""


def stratified(by_opponent: Mapping[str, OpponentReturn], task: ScoringTask) -> Scored:
    """``mean = sum_j w_j mean_j`` and ``stderr = sqrt(sum_j w_j^2 stderr_j^2)``."""
    mean = sum(task.weights[i] * r.mean for i, r in by_opponent.items())
    variance = sum((task.weights[i] * r.stderr) ** 2 for i, r in by_opponent.items())
    return Scored(mean, math.sqrt(variance), by_opponent)


def _play(
    referee: Referee,
    game: Game,
    program: Program,
    key: str,
    others: Sequence[Program],
    task: ScoringTask,
    limits: Limits,
) -> _Duel | Fault:
    """``key`` names the programs in the ``others`` seats."""
    numbers = range(task.first_match, task.first_match + task.matches_per_opponent)
    seats = (0, 1) if game.spec.swaps_seats else (task.player,)
    returns: dict[int, float] = {}
    probes: dict[int, Probe] = {}
    forfeits = 0
    for seat in seats:
        players = (*others[:seat], program, *others[seat:])
        mine = [k for k in numbers if len(seats) == 1 or k % 2 == seat]
        if not mine:
            continue
        own = [match_seed(task.seed, key, k) for k in mine]
        outcomes = referee.play(game, players, seeds=own, limits=limits, strict=task.strict)
        for k, seed, played in zip(mine, own, outcomes, strict=True):
            result = played
            if isinstance(result, Fault) and result.player != seat:
                (result,) = referee.play(game, players, seeds=[seed], limits=limits, strict=task.strict)
            if isinstance(result, Fault):
                if result.player == seat:
                    return result
                forfeits += 1
                returns[k] = _return_after_forfeit(game)
                continue
            returns[k] = result.returns[seat]
            if k < task.first_match + PROBE_MATCHES or not probes:
                probes[k] = Probe(result, seat)
    return _Duel([returns[k] for k in numbers], forfeits, [probes[k] for k in sorted(probes)][:PROBE_MATCHES])


def _return_after_forfeit(game: Game) -> float:
    """What a program gets when its opponent fails: all there is in a zero-sum game; a failed partner earns nothing."""
    low, high = game.spec.return_range
    return high if game.spec.utility == "zero_sum" else low


def _summarise(duel: _Duel) -> OpponentReturn:
    returns = np.asarray(duel.returns)
    spread = float(returns.std(ddof=1)) / math.sqrt(len(returns)) if len(returns) > 1 else 0.0
    return OpponentReturn(float(returns.mean()), spread, len(returns), duel.forfeits)
