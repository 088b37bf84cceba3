"""Three ways to a cell: a whole run of an experiment, a player evaluated as it is, and a model that plays itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from evolve.llm.budget import Usage
from evolve.program import Program
from games.core import Game
from games.registry import make_game
from workers.agent_evaluation import DEFAULTS, MATCHES, begin, evaluate_agent
from workers.commands.common import check_isolation, open_pool
from workers.errors import RunFailedError, UsageError
from workers.evaluation import measure
from workers.experiment import Experiment
from workers.models import make_model
from workers.players import Target, resolve
from workers.run import run_experiment
from workers.run_directory import RunDirectory
from workers.settings import MissingPackagesError, experiment_from, load_experiment
from workers.table.core import Cell, CellResult, Request
from workers.table.spending import spending

_PROPOSALS_OF_AN_ISLAND = 8
"""An island with fewer has hardly a second generation, and alpha_evolve on many of them is best of N."""
_UNASKING = ("exact_best_response", "reinforcement")
"""Oracles that make no calls."""
_EFFORT_KEYS = {"alpha_evolve": "archive.proposals", "best_of_n": "oracle.samples"}


@dataclass(frozen=True)
class RunPreset:
    """``csro run PRESET`` with overrides; its figures are ``final`` of ``summary.json``.

    The request's own overrides come after ``overrides`` and before ``fixed``, which make the row what it is. Runs in
    this machine's processes unless the request says ``execution=ray``."""

    preset: str
    overrides: Mapping[str, object] = field(default_factory=dict)
    fixed: Mapping[str, object] = field(default_factory=dict)

    @property
    def asks_a_model(self) -> bool:
        """Does the row leave open which model it asks?"""
        return "llm.model" not in self.fixed and self.fixed.get("oracle.kind") not in _UNASKING

    def compute(self, cell: Cell) -> CellResult:
        try:
            run, experiment = self._start(cell)
        except MissingPackagesError as error:  # the other rows can do without
            raise RunFailedError(str(error)) from None
        summary_file = run.path / "summary.json"
        if summary_file.is_file():
            summary = run.summary()
        else:
            run.lock()
            make_model(experiment)
            summary = run_experiment(experiment, run, cell.telemetry)
        spent = Usage(**summary["budget"])
        return CellResult(summary["final"], spent, summary["sandbox"]["level"], summary["stopped"])

    def _start(self, cell: Cell) -> tuple[RunDirectory, Experiment]:
        experiment = load_experiment(self.preset, self.settings(cell.request, cell.seed))
        limit = _limit(experiment.budget.usd, cell)
        if (cell.path / "experiment.toml").is_file():
            run, begun = RunDirectory.open(cell.path)
            return run, replace(begun, budget=replace(begun.budget, usd=limit))
        experiment = replace(experiment, budget=replace(experiment.budget, usd=limit))
        return RunDirectory.create(experiment, f"{self.preset}-{cell.seed}", str(cell.path))

    def settings(self, request: Request, seed: int) -> list[str]:
        """The overrides of one run."""
        texts = ["execution=local", *_texts(self.overrides)]
        kind = load_experiment(self.preset, [*texts, *request.overrides, *_texts(self.fixed)]).oracle.kind
        texts += _texts(effort(kind, request))
        if request.matches is not None:
            texts.append(f"evaluation.matches={request.matches}")
        return [*texts, *request.overrides, *_texts(self.fixed), f"seed={seed}"]


def _limit(own: float | None, cell: Cell) -> float | None:
    """USD that a cell's run may cost over all its tries: ``own``, or less where the table has less left by now."""
    if cell.usd_left is None:
        return own
    left = spending(cell.path).usd + cell.usd_left
    return left if own is None else min(own, left)


def _texts(settings: Mapping[str, object]) -> list[str]:
    return [f"{key}={value}" for key, value in settings.items()]


def effort(kind: str, request: Request) -> dict[str, int]:
    """Settings that let oracle ``kind`` make ``request.calls`` calls over ``request.iterations`` iterations.

    An oracle whose iteration may take fewer calls than its share (one proposal, or a line that stops when it no
    longer loses) gets further iterations until the calls are spent, so that all oracles are compared call for call.
    """
    settings: dict[str, int] = {}
    if request.iterations is not None:
        settings["psro.iterations"] = request.iterations
    if request.calls is None:
        return settings
    settings["budget.llm_calls"] = request.calls
    if kind in _UNASKING:
        return settings
    share = max(1, request.calls // (request.iterations or 1))
    if kind in _EFFORT_KEYS:
        settings[_EFFORT_KEYS[kind]] = share
        if kind == "alpha_evolve":
            settings["archive.num_islands"] = max(1, share // _PROPOSALS_OF_AN_ISLAND)
    else:
        settings["psro.iterations"] = request.calls
    if kind == "linear_refinement":
        settings["oracle.refinements"] = share - 1
    return settings


@dataclass(frozen=True)
class EvaluatePlayer:
    """``csro evaluate PLAYER``: a named policy of the game, or ``seed``, the program that runs of it start from."""

    player: str
    game: str
    matches: int = 100

    def compute(self, cell: Cell) -> CellResult:
        experiment = experiment_from({"game": {"name": self.game}}, cell.request.overrides)
        game = make_game(experiment.game.name, **experiment.game.parameters)
        target = _seed_program(game) if self.player == "seed" else resolve(self.player, game)
        isolation = check_isolation(experiment, cell.telemetry)
        with open_pool(experiment) as pool:
            measured = asyncio.run(
                measure(
                    pool,
                    game,
                    target.members,
                    target.weights,
                    cell.request.matches or self.matches,
                    cell.seed,
                    lambda done, total: cell.telemetry.live(f"{target.name}: {done}/{total} opponents met"),
                )
            )
        return CellResult(measured.to_json(), sandbox_level=isolation.level)


@dataclass(frozen=True)
class EvaluateAgent:
    """``csro evaluate llm`` with the model of the request, or the one in ``fixed``."""

    game: str
    fixed: Mapping[str, object] = field(default_factory=dict)

    @property
    def asks_a_model(self) -> bool:
        return "llm.model" not in self.fixed

    def compute(self, cell: Cell) -> CellResult:
        texts = [*cell.request.overrides, *_texts(self.fixed), f"seed={cell.seed}"]
        experiment = experiment_from({**DEFAULTS, "game": {"name": self.game}}, texts)
        if experiment.budget.wall_s is not None:
            raise RunFailedError("the LLM agent is bounded by its calls, tokens or USD, not by budget.wall_s")
        calls = experiment.budget.llm_calls if cell.request.calls is None else cell.request.calls
        budget = replace(experiment.budget, llm_calls=calls, usd=_limit(experiment.budget.usd, cell))
        try:
            run, experiment = begin(replace(experiment, budget=budget), cell.path)
        except UsageError as error:  # the other rows can do with these settings
            raise RunFailedError(str(error)) from None
        try:
            found = evaluate_agent(experiment, run, cell.request.matches or MATCHES, cell.telemetry)
        finally:
            run.unlock()
        return CellResult(found.to_json(), found.spent)


def _seed_program(game: Game) -> Target:
    program = Program(game.brief.seed_program)
    return Target("seed", {program.id: program}, {program.id: 1.0})
