"""The LLM agent of :mod:`evolve.baselines.llm_agent` against a game's reference population.

Provider keys exist in the driver alone, and the opponents are trusted bots, so the matches are played here and not in
the scoring processes. Seeds and seats are those of any other evaluation with the same seed. Every answer is recorded in
the directory's store before it is played, and every finished match kept: the same call goes on after a kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evolve.baselines.llm_agent import MAX_OUTPUT_TOKENS, Stage
from evolve.llm.budget import Usage
from evolve.llm.replay import export_completions
from evolve.population_metrics import population_metrics
from games.core import Game
from games.registry import make_game
from workers.agent_matches import AgentMatches
from workers.errors import UsageError
from workers.evaluation import PopulationResult
from workers.experiment import Experiment
from workers.models import make_model, members_of, shared_model
from workers.run import open_run_store
from workers.run_directory import RunDirectory
from workers.telemetry import Telemetry

DEFAULTS: Mapping[str, object] = {"execution": "local", "llm": {"max_output_tokens": MAX_OUTPUT_TOKENS}}
"""Tables of the experiment that differ for the agent from those of a run."""

MATCHES = 2
"""Per bot unless more are asked for: the fewest that have standard errors, for each takes a call a round."""

_NAME = "llm_agent"


@dataclass(frozen=True)
class AgentResult:
    """``answers`` of the model to the matches evaluated, of which ``unreadable`` named no action; ``spent`` is all that
    the directory has cost."""

    model: str
    population: PopulationResult
    answers: int
    unreadable: int
    spent: Usage

    def to_json(self) -> dict[str, object]:
        counts = {"answers": self.answers, "unreadable_answers": self.unreadable}
        return {"model": self.model, **self.population.to_json(), **counts, "budget": asdict(self.spent)}


def begin(experiment: Experiment, out: Path) -> tuple[RunDirectory, Experiment]:
    """The evaluation's directory, new or gone on with, and locked; and the experiment with its run id.

    Raises :class:`UsageError`, ``UnknownModelError`` or ``MissingKeyError`` before anything is written."""
    if any(member.model == "offline" for member in members_of(experiment.llm)):
        raise UsageError(
            "the LLM agent asks a model what the opponent plays next, which the offline proposer cannot tell: "
            "--set llm.model=openai:NAME or google:NAME"
        )
    _stage(make_game(experiment.game.name, **experiment.game.parameters))
    make_model(experiment)
    if (out / "experiment.toml").is_file():
        run, begun = RunDirectory.open(out)
        _check_same(out, begun, experiment)
        experiment = replace(experiment, run_id=begun.run_id)
    else:
        run, experiment = RunDirectory.create(replace(experiment, run_id=""), _NAME, str(out))
    run.lock()
    return run, experiment


def _check_same(out: Path, begun: Experiment, asked: Experiment) -> None:
    """What the answers depend on may not change; budgets and the number of matches may."""
    if not begun.run_id.startswith(f"{_NAME}-"):
        raise UsageError(f"{out} holds a run, not an evaluation of the LLM agent: choose another --out")
    for key in ("game", "seed", "llm.model", "llm.temperature", "llm.max_output_tokens"):
        before, now = (_value(experiment, key) for experiment in (begun, asked))
        if before != now:
            raise UsageError(f"{out} holds an evaluation with {key}={before}: repeat that, or choose another --out")


def _value(experiment: Experiment, key: str) -> object:
    value: Any = experiment
    for part in key.split("."):
        value = getattr(value, part)
    return {"name": value.name, **value.parameters} if key == "game" else value


def _stage(game: Game) -> Stage:
    stage = Stage.of(game)
    if stage is None:
        raise UsageError(
            f"the LLM agent cannot play {game.spec.name}, which repeats no symmetric stage of simultaneous actions "
            "between two players; it plays repeated_rps"
        )
    return stage


def evaluate_agent(experiment: Experiment, run: RunDirectory, matches: int, telemetry: Telemetry) -> AgentResult:
    """``matches`` of the agent against each bot. Leaves the answers in ``completions.jsonl.gz`` as well, so that
    ``llm.model=replay:DIRECTORY`` computes the same elsewhere.

    Raises :class:`RunFailedError` where the budget or the provider does not suffice, ``RunInterruptedError``, or
    ``StoreUnavailableError``; all that was done stays in the directory."""
    game = make_game(experiment.game.name, **experiment.game.parameters)
    with open_run_store(experiment, run, telemetry) as store:
        llm = shared_model(experiment, store)
        bots = len(game.reference_population())
        telemetry.say(
            f"{matches} x {bots} matches of {llm.model}, a call for each round but the first, kept in {run.path}"
        )
        played = AgentMatches(experiment, game, _stage(game), store, llm, matches, run.path, telemetry)
        by_bot = asyncio.run(played.play())
        telemetry.live("writing the recording")
        export_completions(store.completions.items(), run.path / "completions.jsonl.gz")
        spent = store.ledger(experiment.budget).spent()
    every = [match for found in by_bot.values() for match in found]
    return AgentResult(
        llm.model,
        PopulationResult(
            population_metrics({bot: [match.value for match in found] for bot, found in by_bot.items()}), exact=False
        ),
        sum(match.answers for match in every),
        sum(match.unreadable for match in every),
        spent,
    )
