"""What a mixture earned, as JSON, as a table and in the report: stratified, and with a policy drawn per match."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from evolve.population_metrics import drawn_metrics, mixture_metrics, population_metrics
from tests.workers.run_directory import finished_run
from workers.evaluation import PopulationResult
from workers.report import render_report
from workers.tables import population_tables

RETURNS = {"x": {"a": [1.0, 2.0, 3.0, 4.0], "b": [5.0] * 4}, "y": {"a": [-1.0] * 4, "b": [0.0, 1.0, 0.0, 1.0]}}
WEIGHTS = {"x": 0.5, "y": 0.5}


def mixture() -> PopulationResult:
    drawn = drawn_metrics(RETURNS, WEIGHTS, np.random.default_rng(0))
    return PopulationResult(mixture_metrics(RETURNS, WEIGHTS), exact=False, drawn=drawn)


def printed(result: PopulationResult) -> str:
    console = Console(file=io.StringIO(), width=120)
    for table in population_tables(result.to_json()):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_both_estimates_stand_side_by_side() -> None:
    record = mixture().to_json()
    assert record["matches_per_bot"] == 8 and record["drawn_matches_per_bot"] == 4
    assert record["pop_return"] == 1.75 and isinstance(record["drawn_pop_return"], float)
    assert "drawn_by_opponent" not in record
    assert "PopReturn, a policy drawn per match" in printed(mixture())


def test_a_single_policy_is_not_drawn() -> None:
    alone = PopulationResult(population_metrics(RETURNS["x"]), exact=False)
    assert not [key for key in alone.to_json() if key.startswith("drawn")]
    assert "drawn" not in printed(alone)


def test_the_report_shows_it(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    file = run.path / "summary.json"
    summary = json.loads(file.read_text(encoding="utf-8"))
    summary["final"] |= {k: v for k, v in mixture().to_json().items() if k.startswith("drawn")}
    file.write_text(json.dumps(summary), encoding="utf-8")
    page = render_report(run.path).read_text(encoding="utf-8")
    assert "PopReturn, a policy drawn per match" in page and "drawn_" not in page.replace("drawn per match", "")
