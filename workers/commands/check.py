"""Loads and plays each program file in the sandbox, as the search would, and prints what happened: outcome ok, or the
fault with its traceback. Each plays a match against itself, or with --player in that seat alone, the game's seed
program in the others. Exit status 1 if any program fails."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from games.registry import make_game
from sandbox.faults import Stage
from sandbox.referee import CheckResult, Referee
from workers.commands.common import add_game_arguments, check_isolation, chosen
from workers.errors import UsageError
from workers.players import NotTextError, read_program
from workers.telemetry import Telemetry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("programs", metavar="PROGRAM", nargs="+", type=Path, help="program files")
    add_game_arguments(parser)
    parser.add_argument("--player", metavar="SEAT", type=int, help="the only seat that the programs are written for")


def run(arguments: argparse.Namespace) -> int:
    experiment = chosen(arguments, ("game", "sandbox"))
    game = make_game(experiment.game.name, **experiment.game.parameters)
    if arguments.player is not None and arguments.player not in range(game.spec.num_players):
        raise UsageError(f"--player {arguments.player}: {game.spec.name} has players 0 to {game.spec.num_players - 1}")
    with Telemetry() as telemetry:
        level = check_isolation(experiment, telemetry).level
    sources = {path: _source(path, level) for path in arguments.programs}
    limits = experiment.sandbox
    with Referee(limits) as referee:
        results = [
            (path, source if isinstance(source, CheckResult) else referee.check(game, source, arguments.player, limits))
            for path, source in sources.items()
        ]
    if arguments.json:
        print(json.dumps([_json(path, result) for path, result in results], allow_nan=False))
    else:
        print("\n".join(_text(path, result) for path, result in results))
    return 0 if all(result.outcome == "ok" for _, result in results) else 1


def _source(path: Path, level: int) -> str | CheckResult:
    """A program's text, or what is wrong with it before it is run."""
    try:
        return read_program(path).source
    except NotTextError as error:
        return CheckResult("syntax_error", str(error), "", level, 0.0, Stage.LOAD.value)


def _json(path: Path, result: CheckResult) -> dict[str, object]:
    return {
        "file": str(path),
        "outcome": result.outcome,
        "detail": result.detail,
        "traceback": result.traceback,
        "level": result.level,
        "wall_s": result.wall_s,
    }


def _text(path: Path, result: CheckResult) -> str:
    head = f"{path}: {result.outcome} ({result.wall_s:.2f} s, sandbox level {result.level})"
    return "\n".join(part for part in (head, result.detail, result.traceback.rstrip()) if part)
