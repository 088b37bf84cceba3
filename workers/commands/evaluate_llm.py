"""``csro evaluate llm``: the LLM agent, which asks a model at every round, against the game's reference population."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

from workers.agent_evaluation import DEFAULTS, MATCHES, begin, evaluate_agent
from workers.commands.common import chosen
from workers.errors import RunFailedError, UsageError
from workers.experiment import Experiment
from workers.run import llm_name
from workers.supervision import RunInterruptedError
from workers.tables import population_tables, print_tables
from workers.telemetry import Telemetry, budget_line

_LLM = (
    *("model", "temperature", "max_output_tokens", "in_flight", "requests_per_minute", "tokens_per_minute"),
    *("patience_s", "timeout_s", "max_attempts", "backoff_s", "openai_api"),
)
_BUDGET = ("llm_calls", "tokens", "usd")
_READS = ("game", *(f"llm.{key}" for key in _LLM), *(f"budget.{key}" for key in _BUDGET))


def run(arguments: argparse.Namespace) -> int:
    experiment = replace(chosen(arguments, _READS, DEFAULTS), seed=arguments.seed)
    if arguments.calls is not None:
        if experiment.budget.llm_calls is not None:
            raise UsageError("--calls and --set budget.llm_calls=... both bound the calls: give one of them")
        experiment = replace(experiment, budget=replace(experiment.budget, llm_calls=arguments.calls))
    directory, experiment = begin(experiment, arguments.out or _default_out(experiment))
    with Telemetry() as telemetry:
        try:
            found = evaluate_agent(experiment, directory, arguments.matches or MATCHES, telemetry)
        except RunInterruptedError:
            raise RunFailedError("interrupted; every answer that came is kept: the same command goes on") from None
        finally:
            directory.unlock()
    result = {
        "target": arguments.target,
        "game": experiment.game.name,
        "seed": arguments.seed,
        "temperature": experiment.llm.temperature,
        **found.to_json(),
    }
    directory.write_json("evaluation.json", result)
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
        return 0
    print_tables(population_tables(result))
    print(f"budget         {budget_line(found.spent, experiment.budget)}")
    print(f"unreadable     {found.unreadable} of {found.answers} answers, each played at random")
    print(f"directory      {directory.path}")
    return 0


def _default_out(experiment: Experiment) -> Path:
    """The same for the same game, model, temperature and seed, so that the same command goes on."""
    game, settings = experiment.game, experiment.llm
    parameters = (f"{key}={value}" for key, value in sorted(game.parameters.items()))
    own = (f"temperature={settings.temperature:g}", f"seed={experiment.seed}")
    name = "-".join((game.name, *parameters, llm_name(settings.model), *own))
    return Path("evaluations") / re.sub(r"[^A-Za-z0-9._-]+", "-", name)
