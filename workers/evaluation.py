"""Programs, bots and mixtures against a game's reference population, spread over the scoring processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from evolve.population_metrics import PopulationMetrics, mixture_metrics
from games.core import Game
from sandbox.faults import Fault
from workers.pool import ScorerPool
from workers.scorer import Player, ScoringProcess, matches_against


@dataclass
class PopulationReturns:
    """Returns of each member in each match, by member and bot, and the faults that cost matches."""

    returns: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    forfeits: dict[str, int] = field(default_factory=dict)


async def play_population(
    pool: ScorerPool,
    game: Game,
    members: Mapping[str, Player],
    matches: int,
    seed: int,
    done: Callable[[int, int], None],
) -> PopulationReturns:
    """Plays every member ``matches`` times against every bot. ``done(finished, total)`` is called after each pair.

    A member that fails in a match is booked the worst return there is; a bot that fails, the member's best.
    """
    bots = list(game.reference_population())
    result = PopulationReturns({member: {bot: [] for bot in bots} for member in members})
    low, high = game.spec.return_range
    total, finished = len(members) * len(bots), 0

    async def pair(member: str, player: Player, bot: str) -> None:
        nonlocal finished
        outcomes = await pool.call(ScoringProcess.head_to_head, player, bot, matches_against(seed, bot, matches))
        for outcome in outcomes:
            if not isinstance(outcome, Fault):
                result.returns[member][bot].append(outcome[0])
            elif outcome.player == 0:
                result.faults.append(outcome)
                result.returns[member][bot].append(low)
            else:
                result.forfeits[bot] = result.forfeits.get(bot, 0) + 1
                result.returns[member][bot].append(high)
        finished += 1
        done(finished, total)

    await asyncio.gather(*(pair(member, player, bot) for member, player in members.items() for bot in bots))
    return result


def metrics_of(played: PopulationReturns, weights: Mapping[str, float]) -> PopulationMetrics:
    """The metrics of the mixture ``weights`` over the members that were played."""
    return mixture_metrics(played.returns, weights, played.forfeits)
