"""Programs, bots and mixtures against a game's reference population, spread over the scoring processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from evolve.population_metrics import PopulationMetrics, drawn_metrics, exact_metrics, mixture_metrics
from games.core import FloatArray, Game
from games.seeds import sampling_rng
from games.stationary import SolvableGame, StationaryGame
from sandbox.faults import Fault
from workers.pool import ScorerPool
from workers.scorer import Player, ScoringProcess, matches_against


@dataclass
class PopulationReturns:
    """Returns of each member in each match, by member and bot, and the faults that cost matches."""

    returns: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    forfeits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PopulationResult:
    """Metrics of a mixture; ``exact`` if they are computed and not sampled (``matches_per_bot`` is then 0).

    ``drawn`` are those of the mixture as a player that draws a fresh policy for each match; ``None`` where they are
    exact or there is but one policy, for then they are the same."""

    metrics: PopulationMetrics
    exact: bool
    faults: tuple[Fault, ...] = ()
    drawn: PopulationMetrics | None = None

    def to_json(self) -> dict[str, object]:
        """``drawn_...`` keys hold what is drawn, all but ``by_opponent``."""
        record = {"exact": self.exact, **self.metrics.to_json()}
        drawn = self.drawn.to_json() if self.drawn else {}
        return record | {f"drawn_{key}": value for key, value in drawn.items() if key != "by_opponent"}


async def measure(
    pool: ScorerPool,
    game: Game,
    members: Mapping[str, Player],
    weights: Mapping[str, float],
    matches: int,
    seed: int,
    done: Callable[[int, int], None],
    player: int = 0,
) -> PopulationResult:
    """The mixture ``weights`` over ``members`` in seat ``player`` against the reference population.

    Exact where the game can do that and every member's moves depend on its information set alone; else from
    ``matches`` matches of each member against each bot. ``done(finished, total)`` is called after each pair.
    """
    values = await _exact(pool, game, {name: members[name] for name, weight in weights.items() if weight > 0}, player)
    if values is not None:
        bots = next(iter(values.values()))
        mixed = {bot: sum(weights[member] * values[member][bot] for member in values) for bot in bots}
        return PopulationResult(exact_metrics(mixed), exact=True)
    played = await play_population(pool, game, members, matches, seed, done, player)
    several = sum(weight > 0 for weight in weights.values()) > 1
    return PopulationResult(
        mixture_metrics(played.returns, weights, played.forfeits),
        exact=False,
        faults=tuple(played.faults),
        drawn=drawn_metrics(played.returns, weights, sampling_rng(seed, player)) if several else None,
    )


async def nash_conv(
    pool: ScorerPool, game: Game, profile: Sequence[tuple[Mapping[str, Player], Mapping[str, float]]]
) -> float | None:
    """Exact NashConv of a profile of mixtures, ``(members, weights)`` for each player.

    ``None`` where the game cannot do that, or some member's moves depend on more than its information set."""
    if not isinstance(game, SolvableGame):
        return None
    tables: list[FloatArray] = []
    for seat, (members, weights) in enumerate(profile):
        played = {name: weight for name, weight in weights.items() if weight > 0}
        found = [await pool.call(ScoringProcess.table, members[name], seat) for name in played]
        known = [table for table in found if table is not None]
        if len(known) < len(played):
            return None
        tables.append(game.mixed(seat, known, list(played.values())))
    return game.nash_conv(tables)


async def _exact(
    pool: ScorerPool, game: Game, members: Mapping[str, Player], seat: int
) -> dict[str, dict[str, float]] | None:
    if not isinstance(game, StationaryGame):
        return None
    values: dict[str, dict[str, float]] = {}
    for name, player in members.items():
        returns = await pool.call(ScoringProcess.exact_returns, player, seat)
        if returns is None:
            return None
        values[name] = returns
    return values


async def play_population(
    pool: ScorerPool,
    game: Game,
    members: Mapping[str, Player],
    matches: int,
    seed: int,
    done: Callable[[int, int], None],
    player: int = 0,
) -> PopulationReturns:
    """Plays every member ``matches`` times against every bot, in seat ``player`` or, where seats are swapped, in both.

    With more than two players the bot has every other seat.

    A member that fails in a match is booked the worst return there is; a bot that fails, the member's best.
    """
    bots = list(game.reference_population())
    seats = game.spec.num_players
    result = PopulationReturns({member: {bot: [] for bot in bots} for member in members})
    low, high = game.spec.return_range
    total, finished = len(members) * len(bots), 0

    async def pair(member: str, policy: Player, bot: str) -> None:
        nonlocal finished
        players = [policy if seat == player else bot for seat in range(seats)]
        seeds = matches_against(seed, bot, matches, list(members).index(member))
        outcomes = await pool.call(ScoringProcess.play, players, seeds)
        for outcome in outcomes:
            if not isinstance(outcome, Fault):
                result.returns[member][bot].append(outcome[player])
            elif outcome.player == player:
                result.faults.append(outcome)
                result.returns[member][bot].append(low)
            else:
                result.forfeits[bot] = result.forfeits.get(bot, 0) + 1
                result.returns[member][bot].append(high)
        finished += 1
        done(finished, total)

    await asyncio.gather(*(pair(member, policy, bot) for member, policy in members.items() for bot in bots))
    return result
