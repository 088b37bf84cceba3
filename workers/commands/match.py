"""Plays players against each other and prints the mean return of each with its standard error. There is one PLAYER for
each seat of the game, a program file or a reference name such as bot:greenberg; in symmetric games of two they swap
seats after each match. Outside zero-sum games their social welfare is told too, and where the game knows the best that
its players could do together, in how many of the matches they did."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from games.core import BoundedWelfareGame, Game
from games.registry import make_game
from games.seeds import episode_rng, match_seed
from sandbox.faults import Fault
from workers.commands.common import add_game_arguments, add_match_arguments, check_isolation, chosen, open_pool
from workers.errors import UsageError
from workers.players import Target, resolve
from workers.scorer import Player, ScoringProcess
from workers.telemetry import Telemetry

_CHUNK = 32  # matches a process plays at a time
_SAME = 1e-9  # of returns that differ by rounding alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("players", metavar="PLAYER", nargs="+", help="a program file or bot:NAME, one for each seat")
    add_game_arguments(parser)
    add_match_arguments(parser, 100, "matches (default 100)")
    parser.add_argument("--keep-seats", action="store_true", help="never swap seats: each program is for its own")


def run(arguments: argparse.Namespace) -> int:
    experiment = chosen(arguments)
    game = make_game(experiment.game.name, **experiment.game.parameters)
    if len(arguments.players) != game.spec.num_players:
        raise UsageError(f"{game.spec.name} has {game.spec.num_players} players: name as many")
    players = [_player(resolve(text, game)) for text in arguments.players]
    seeds = [match_seed(arguments.seed, "match", k) for k in range(arguments.matches)]
    with Telemetry() as telemetry, open_pool(experiment) as pool:
        isolation = check_isolation(experiment, telemetry)

        async def play() -> list[tuple[float, ...] | Fault]:
            chunks = [seeds[k : k + _CHUNK] for k in range(0, len(seeds), _CHUNK)]
            calls = [pool.call(ScoringProcess.play, players, chunk, arguments.keep_seats) for chunk in chunks]
            return [outcome for chunk in await asyncio.gather(*calls) for outcome in chunk]

        outcomes = asyncio.run(play())
    result = {
        "game": experiment.game.name,
        "seed": arguments.seed,
        "sandbox_level": isolation.level,
        "matches": len(outcomes),
        "players": [_summary(name, i, outcomes) for i, name in enumerate(arguments.players)],
        **_welfare(game, seeds, outcomes),
    }
    print(json.dumps(result, allow_nan=False) if arguments.json else _text(result))
    return 0


def _player(target: Target) -> Player:
    if len(target.members) != 1:
        raise UsageError(f"{target.name} is a mixture of {len(target.members)} policies; match takes single players")
    return next(iter(target.members.values()))


def _summary(name: str, player: int, outcomes: list[tuple[float, ...] | Fault]) -> dict[str, Any]:
    """Mean over the matches that were finished; failures are counted, never averaged in."""
    returns = [outcome[player] for outcome in outcomes if not isinstance(outcome, Fault)]
    faults = [outcome for outcome in outcomes if isinstance(outcome, Fault) and outcome.player == player]
    mean, stderr = _mean(returns)
    return {
        "name": name,
        "mean_return": mean,
        "stderr": stderr,
        "finished": len(returns),
        "failures": dict(Counter(fault.kind.value for fault in faults)),
        "traceback": faults[0].traceback if faults else "",
    }


def _mean(values: Sequence[float]) -> tuple[float | None, float | None]:
    """With its standard error; ``None`` for what is not known."""
    mean = float(np.mean(values)) if values else None
    return mean, float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None


def _welfare(game: Game, seeds: Sequence[int], outcomes: Sequence[tuple[float, ...] | Fault]) -> dict[str, Any]:
    """Social welfare over the finished matches, and beside it the best there is in the same episodes."""
    if game.spec.utility == "zero_sum":
        return {}
    played = zip(seeds, outcomes, strict=True)
    reached = {seed: sum(returns) for seed, returns in played if not isinstance(returns, Fault)}
    mean, stderr = _mean(list(reached.values()))
    record: dict[str, Any] = {"social_welfare": mean, "social_welfare_stderr": stderr}
    if not isinstance(game, BoundedWelfareGame):
        return record
    best = {seed: welfare for seed in reached if (welfare := game.best_welfare(episode_rng(seed))) is not None}
    if not best:
        return record
    optimal = sum(reached[seed] >= welfare - _SAME for seed, welfare in best.items())
    return {**record, "best_welfare": _mean(list(best.values()))[0], "optimal": optimal, "of": len(best)}


def _text(result: dict[str, Any]) -> str:
    lines = [f"{result['game']}, {result['matches']} matches, seed {result['seed']}"]
    for player in result["players"]:
        mean = "no match finished" if player["mean_return"] is None else f"{player['mean_return']:+.3f}"
        error = "" if player["stderr"] is None else f" ± {player['stderr']:.3f}"
        failed = f"   failed: {player['failures']}" if player["failures"] else ""
        lines.append(f"  {player['name']:<40} {mean}{error}{failed}")
        if player["traceback"]:
            lines.append(player["traceback"])
    if result.get("social_welfare") is not None:
        error = "" if result["social_welfare_stderr"] is None else f" ± {result['social_welfare_stderr']:.3f}"
        lines.append(f"  {'social welfare':<40} {result['social_welfare']:+.3f}{error}")
    if "optimal" in result:
        optimum = f"{result['best_welfare']:+.3f}, reached in {result['optimal']} of {result['of']} matches"
        lines.append(f"  {'the best there is':<40} {optimum}")
    return "\n".join(lines)
