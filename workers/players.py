"""Who plays, from what a user typed: a program file, a finished run, or a member of the reference population."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evolve.program import Program
from games.core import Game
from games.registry import near_matches
from workers.errors import UsageError
from workers.run_directory import RunDirectory
from workers.scorer import Player, reference_players

_BOT = "bot:"


@dataclass(frozen=True)
class Target:
    """A mixture of players; a single program or bot has weight 1."""

    name: str
    members: Mapping[str, Player]
    weights: Mapping[str, float]


def resolve(text: str, game: Game) -> Target:
    """The target named ``text``: ``bot:NAME`` or a bare reference name, a run directory, or a program file.

    Raises :class:`UsageError` with near matches."""
    population = reference_players(game)
    name = text.removeprefix(_BOT)
    if name in population:
        return Target(text, {name: name}, {name: 1.0})
    path = Path(text)
    if path.is_dir():
        return _run(path, game)
    if path.is_file():
        return _single(text, read_program(path))
    if text.startswith(_BOT) or not path.suffix:
        raise UsageError(f"{game.spec.name} has no reference player {name!r}{near_matches(name, population)}")
    raise UsageError(f"no such file: {text}")


class NotTextError(UsageError):
    """A program file that no Python would take: it is not UTF-8."""


def read_program(path: Path) -> Program:
    """Raises :class:`UsageError` if the file cannot be read, :class:`NotTextError` if it is not text."""
    try:
        return Program(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise NotTextError(f"{path} is not UTF-8 text: {error}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _single(name: str, program: Program) -> Target:
    return Target(name, {program.id: program}, {program.id: 1.0})


def _run(path: Path, game: Game) -> Target:
    run, experiment = RunDirectory.open(path)
    if experiment.game.name != game.spec.name:
        raise UsageError(f"{path} is a run of {experiment.game.name}, not of {game.spec.name}")
    if experiment.method == "pibr":
        raise UsageError(f"{path} is a run of PIBR, each program for its own seat: name files of {path}/policies")
    weights = {i: w for i, w in run.summary()["final"]["meta_strategy"].items() if w > 0}
    sources = run.policy_sources()
    return Target(str(path), {i: Program(sources[i]) for i in weights}, weights)
