"""Plays TARGET against every member of the game's reference population and prints PopReturn, PopExpl and AggScore
(Lanctot et al. 2023) with standard errors. TARGET is a program file, a run directory, or the name of a reference
player such as bot:greenberg, or of a baseline such as regret_matching-1 or q_learning-10. PopExpl and AggScore are
split-half estimates: the nemesis is chosen on one half of the matches and scored on the other; the naive maximum,
which noise biases upward, stands beside them. A run's mixture is measured twice: by the weighted means of its
policies, and as a player that draws one of them for each match. Where a game has exact values (repeated_leduc,
small OpenSpiel games) and TARGET has no memory and draws no random numbers itself, nothing is sampled and "exact"
is true; a small OpenSpiel game then also has the NashConv of TARGET in every seat. TARGET llm is no program: a model
(--set llm.model=openai:NAME) is shown the match at every round and predicts the opponent's next action, and the best
response to that is played; --out keeps every answer, so the same command goes on after a kill and pays nothing twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from games.registry import make_game
from workers.commands.common import (
    add_game_arguments,
    add_match_arguments,
    check_isolation,
    chosen,
    open_pool,
    positive,
)
from workers.errors import UsageError
from workers.evaluation import measure, nash_conv
from workers.players import resolve
from workers.tables import population_tables, print_tables
from workers.telemetry import Telemetry

_MATCHES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a program file, a run directory, a player's name, or llm")
    add_game_arguments(parser)
    add_match_arguments(parser, None, f"matches per member of the population (default {_MATCHES}; of llm 2)")
    parser.add_argument(
        "--calls", type=positive, metavar="N", help="of llm: calls at most, those before a kill included"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="of llm: its directory (default: evaluations/GAME-MODEL-SETTINGS)"
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.target == "llm":
        from workers.commands import evaluate_llm  # which loads what a run does

        return evaluate_llm.run(arguments)
    for option in ("calls", "out"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option} is for the target llm; {arguments.target} asks no model")
    matches = arguments.matches or _MATCHES
    experiment = chosen(arguments)
    game = make_game(experiment.game.name, **experiment.game.parameters)
    target = resolve(arguments.target, game)
    with Telemetry() as telemetry, open_pool(experiment) as pool:
        isolation = check_isolation(experiment, telemetry)
        measured = asyncio.run(
            measure(
                pool,
                game,
                target.members,
                target.weights,
                matches,
                arguments.seed,
                lambda done, total: telemetry.live(f"{target.name}: {done}/{total} opponents met"),
            )
        )
        # A single player is asked in every seat; a run's profile has its NashConv in summary.json.
        everyone = [(target.members, target.weights)] * game.spec.num_players
        conv = asyncio.run(nash_conv(pool, game, everyone)) if len(target.members) == 1 else None
    result = {
        "target": target.name,
        "game": experiment.game.name,
        "seed": arguments.seed,
        "sandbox_level": isolation.level,
        "failed_matches": len(measured.faults),
        **measured.to_json(),
        **({} if conv is None else {"nash_conv": conv}),
    }
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        print_tables(population_tables(result))
    if measured.faults:
        fault = measured.faults[0]
        print(
            f"csro: the target failed in {len(measured.faults)} matches, each booked as the worst return there is; the "
            f"first fault: {fault.kind.value}: {' '.join(fault.detail.split())}",
            file=sys.stderr,
        )
    played = matches * len(measured.metrics.by_opponent) * len(target.members)
    return 1 if len(measured.faults) == played else 0
