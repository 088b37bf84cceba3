"""``csro table pibr_starts``: what each pure start reaches, beside exact best-response dynamics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.workers.runs import csro, finished
from workers.settings import load_experiment
from workers.table.core import Request
from workers.table.pibr import PibrPreset
from workers.table.registry import make_table

DYNAMICS = {"vanilla": [4, 2, 6] * 3, "climbing": [22, 14, 14] * 3, "penalty": [20, 4, 20] * 3}
SMALL = ("pibr.welfare_matches=2", "workers.scorers=1")


def rows(out: Path, *patterns: str, more: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    sets = [word for override in (*SMALL, *more) for word in ("--set", override)]
    result = finished(csro("table", "pibr_starts", "--rows", *patterns, "--out", str(out), "--json", *sets))
    return {row["name"]: row["figures"] for row in json.loads(result.stdout)["rows"]}


def reached(figures: dict[str, Any]) -> list[float]:
    return [figures[f"{row}, {column}"]["mean"] for row in range(3) for column in range(3)]


def test_exact_dynamics_of_all_three_games(tmp_path: Path) -> None:
    found = rows(tmp_path, "*/dynamics")
    assert {name.split("/")[0]: reached(figures) for name, figures in found.items()} == DYNAMICS
    assert [figures["Best"]["mean"] for figures in found.values()] == [6, 22, 20]
    assert all(figures["As exact"]["mean"] == 9 for figures in found.values())


def test_the_exact_oracle_goes_where_the_dynamics_go(tmp_path: Path) -> None:
    found = rows(tmp_path, "climbing/exact_best_response")["climbing/exact_best_response"]
    assert (reached(found), found["As exact"]["mean"]) == (DYNAMICS["climbing"], 9)


def test_the_dynamics_go_as_far_as_the_runs_beside_them(tmp_path: Path) -> None:
    """One outer loop: from each row, the best answer of player 0 alone. The nine starts are the table's own."""
    few = ("pibr.iterations=1", "pibr.starts=3", "pibr.initial=seed")
    found = rows(tmp_path, "climbing/exact_best_response", "climbing/dynamics", more=few)
    oracle, dynamics = (reached(figures) for figures in found.values())
    assert oracle == dynamics != DYNAMICS["climbing"]


def test_starts_that_go_elsewhere_do_not_count() -> None:
    column = make_table("pibr_starts").columns[-1]
    welfare = [4.0, 2.0, 5.862, None, 2.0, 6.0, 4.0, 2.0, 6.0]
    starts = [
        {"social_welfare": got, "exact_best_response": exact}
        for got, exact in zip(welfare, DYNAMICS["vanilla"], strict=True)
    ]
    assert column.read({"starts": starts}) == 7


@pytest.mark.parametrize("game", sorted(DYNAMICS))
def test_the_textual_gradient_starts_from_all_nine_profiles(game: str) -> None:
    (row,) = [row for row in make_table("pibr_starts").rows if row.name == game]
    assert isinstance(row.work, PibrPreset)
    experiment = load_experiment(row.work.preset, row.work.settings(Request(), 1))
    assert (experiment.pibr.starts, experiment.pibr.initial, experiment.pibr.iterations) == (9, "pure", 3)
    oracle = experiment.oracle
    assert (oracle.kind, oracle.steps, experiment.llm.model) == ("textual_gradient", 40, "offline")
