"""Plays players against each other and prints the mean return of each with its standard error. There is one PLAYER for
each seat of the game, a program file or a reference name such as bot:greenberg; in symmetric games of two they swap
seats after each match."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections import Counter
from typing import Any

import numpy as np

from games.registry import make_game
from games.seeds import match_seed
from sandbox.faults import Fault
from workers.commands.common import add_game_arguments, add_match_arguments, check_isolation, chosen, open_pool
from workers.errors import UsageError
from workers.players import Target, resolve
from workers.scorer import Player, ScoringProcess
from workers.telemetry import Telemetry

_CHUNK = 32  # matches a process plays at a time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("players", metavar="PLAYER", nargs="+", help="a program file or bot:NAME, one for each seat")
    add_game_arguments(parser)
    add_match_arguments(parser, 100, "matches (default 100)")


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
            calls = [pool.call(ScoringProcess.play, players, chunk) for chunk in chunks]
            return [outcome for chunk in await asyncio.gather(*calls) for outcome in chunk]

        outcomes = asyncio.run(play())
    result = {
        "game": experiment.game.name,
        "seed": arguments.seed,
        "sandbox_level": isolation.level,
        "matches": len(outcomes),
        "players": [_summary(name, i, outcomes) for i, name in enumerate(arguments.players)],
    }
    print(json.dumps(result, allow_nan=False) if arguments.json else _text(result))
    return 0


def _player(target: Target) -> Player:
    if len(target.members) != 1:
        raise UsageError(f"{target.name} is a mixture of {len(target.members)} policies; match takes single players")
    return next(iter(target.members.values()))


def _summary(name: str, player: int, outcomes: list[tuple[float, ...] | Fault]) -> dict[str, Any]:
    """Mean over the matches that were finished; failures are counted, never averaged in."""
    returns = np.array([outcome[player] for outcome in outcomes if not isinstance(outcome, Fault)])
    faults = [outcome for outcome in outcomes if isinstance(outcome, Fault) and outcome.player == player]
    return {
        "name": name,
        "mean_return": float(returns.mean()) if len(returns) else None,
        "stderr": float(returns.std(ddof=1)) / math.sqrt(len(returns)) if len(returns) > 1 else None,
        "finished": len(returns),
        "failures": dict(Counter(fault.kind.value for fault in faults)),
        "traceback": faults[0].traceback if faults else "",
    }


def _text(result: dict[str, Any]) -> str:
    lines = [f"{result['game']}, {result['matches']} matches, seed {result['seed']}"]
    for player in result["players"]:
        mean = "no match finished" if player["mean_return"] is None else f"{player['mean_return']:+.3f}"
        error = "" if player["stderr"] is None else f" ± {player['stderr']:.3f}"
        failed = f"   failed: {player['failures']}" if player["failures"] else ""
        lines.append(f"  {player['name']:<40} {mean}{error}{failed}")
        if player["traceback"]:
            lines.append(player["traceback"])
    return "\n".join(lines)
