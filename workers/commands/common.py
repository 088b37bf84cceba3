"""Arguments and processes that the commands about single players share."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from sandbox.faults import SandboxError
from sandbox.isolation import IsolationReport
from sandbox.referee import probe_isolation
from workers.experiment import Experiment
from workers.pool import LocalPool, default_size
from workers.scorer import ScorerConfig
from workers.settings import SettingsError, experiment_from
from workers.telemetry import Telemetry


def add_game_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--game", required=True, help="the game's name, such as repeated_rps")
    add_overrides(parser, "game.num_rounds=100, sandbox.move_timeout_s=2, workers.scorers=1")


def add_overrides(parser: argparse.ArgumentParser, examples: str) -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"override a key of the experiment, as often as needed: {examples}",
    )


def add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        metavar="URL",
        help="the cluster's dashboard (default $RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265)",
    )


def add_match_arguments(parser: argparse.ArgumentParser, matches: int | None, help_text: str) -> None:
    parser.add_argument("--matches", type=positive, default=matches, metavar="N", help=help_text)
    parser.add_argument("--seed", type=_natural, default=0, metavar="S", help="seed of all matches (default 0)")


def chosen(
    arguments: argparse.Namespace,
    reads: Sequence[str] = ("game", "sandbox", "workers.scorers"),
    defaults: Mapping[str, object] | None = None,
) -> Experiment:
    """The game and limits that the arguments name, as an experiment. Raises ``SettingsError``, also for an override of
    a key that the command does not read: ``reads`` names keys, or tables with all their keys. ``defaults`` are tables
    that stand where nothing is overridden."""
    for override in arguments.overrides:
        key = override.partition("=")[0].strip()
        if "=" in override and not any(key == known or key.startswith(f"{known}.") for known in reads):
            keys = ", ".join(known if "." in known else f"{known}.*" for known in reads)
            raise SettingsError(f"--set {key}: {arguments.command} does not read it; it reads {keys}")
    return experiment_from({**(defaults or {}), "game": {"name": arguments.game}}, arguments.overrides)


@contextmanager
def open_pool(experiment: Experiment) -> Iterator[LocalPool]:
    """Scoring processes on this machine."""
    pool = LocalPool(
        ScorerConfig(experiment.game, experiment.sandbox), default_size(experiment.workers.scorers)
    )
    try:
        yield pool
    finally:
        pool.close()


def check_isolation(experiment: Experiment, telemetry: Telemetry) -> IsolationReport:
    """What this machine's sandbox proves. Raises :class:`SandboxError` if it is less than the experiment demands."""
    report = probe_isolation(experiment.sandbox)
    if shortfall := report.shortfall(experiment.sandbox.min_level):
        if not experiment.sandbox.allow_weak:
            raise SandboxError(shortfall)
        telemetry.warn(f"WEAK SANDBOX, allowed by sandbox.allow_weak: {shortfall}")
    return report


def positive(text: str) -> int:
    """An argument that must be at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, not {value}")
    return value
