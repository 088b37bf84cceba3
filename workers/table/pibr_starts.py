"""PIBR from every pure profile of the matrix games: the social welfare that each start reaches, exact dynamics beside.

An oracle that always finds the best response goes where exact best-response dynamics go, and gets stuck where they do:
in the climbing game at 14 from six of nine starts. A search that finds every best response agrees with the dynamics
from each start where those are unique; only several starts find the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from evolve.baselines.best_response_dynamics import reached_from
from evolve.pibr_profile import one_shot
from evolve.pibr_starts import joint_actions
from games.registry import make_game
from workers.settings import load_experiment
from workers.table.core import Cell, CellResult, Column, Row, Table
from workers.table.pibr import MATRIX_GAMES, TITLES, PibrPreset

_OUTER_LOOPS = 3
"""As many as the longest way of the dynamics: in the climbing game from (2, 2) over (2, 1) to (1, 1)."""
_STEPS = 40
"""The offline proposer finds the best pure action, one of three, in nearly every 40 blind changes, but not in 10."""
_STARTS = tuple((row, column) for row in range(3) for column in range(3))
_FIXED = {"pibr.starts": len(_STARTS), "pibr.initial": "pure"}
_SAME = 1e-6


class ExactDynamics:
    """Best-response dynamics computed from a preset's matrix, without programs; see :class:`workers.table.core.Work`.
    The seed changes nothing."""

    def __init__(self, runs: PibrPreset) -> None:
        """With as many outer loops as ``runs`` has."""
        self._runs = runs

    def compute(self, cell: Cell) -> CellResult:
        experiment = load_experiment(self._runs.preset, self._runs.settings(cell.request, cell.seed))
        matrix = one_shot(make_game(experiment.game.name, **experiment.game.parameters))
        assert matrix is not None, f"{self._runs.preset} is of a matrix game"
        loops = experiment.pibr.iterations
        reached = [reached_from(matrix, [np.eye(3)[a] for a in joint], loops) for joint in joint_actions(matrix)]
        starts = [{"social_welfare": value, "exact_best_response": value} for value in reached]
        return CellResult({"starts": starts})


_PROPOSALS = (
    f"Proposals of a run by textual gradient unless --set, --iterations or --calls say otherwise: {len(_STARTS)} "
    f"starts x {_OUTER_LOOPS} outer loops x {_STEPS} steps = {len(_STARTS) * _OUTER_LOOPS * _STEPS}, two calls each."
)


def table() -> Table:
    rows = []
    for game in MATRIX_GAMES:
        preset, effort = f"pibr_{game}", {"pibr.iterations": _OUTER_LOOPS, "oracle.steps": _STEPS}
        gradient = PibrPreset(preset, effort, _FIXED)
        exact = PibrPreset(preset, effort, {**_FIXED, "oracle.kind": "exact_best_response"})
        rows += [
            Row(game, (TITLES[game], "textual gradient"), gradient),
            Row(f"{game}/exact_best_response", (TITLES[game], "exact oracle"), exact),
            Row(f"{game}/dynamics", (TITLES[game], "exact dynamics"), ExactDynamics(gradient)),
        ]
    return Table(
        "PIBR: social welfare reached from each pure profile (row, column)",
        ("Game", "Best responses"),
        (
            *(Column(f"{row}, {column}", partial(_reached, 3 * row + column)) for row, column in _STARTS),
            Column("Best", _best),
            Column("As exact", _agreeing, decimals=0),
        ),
        tuple(rows),
        seeds=(1,),
        notes=(
            "As exact: starts whose social welfare is that of exact best-response dynamics (player 0 first).",
            _PROPOSALS,
        ),
    )


def _reached(start: int, figures: Mapping[str, Any]) -> float | None:
    value: float | None = figures["starts"][start]["social_welfare"]
    return value


def _best(figures: Mapping[str, Any]) -> float | None:
    return max((s["social_welfare"] for s in figures["starts"] if s["social_welfare"] is not None), default=None)


def _agreeing(figures: Mapping[str, Any]) -> float:
    both = [(s["social_welfare"], s["exact_best_response"]) for s in figures["starts"]]
    return float(sum(None not in pair and abs(pair[0] - pair[1]) < _SAME for pair in both))
