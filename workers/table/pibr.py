"""PIBR paper, figure 2: social welfare reached on the three coordination games and in cooperative foraging."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from workers.settings import load_experiment
from workers.table.core import Column, Request, Row, Table
from workers.table.work import RunPreset

_PAPER = {"vanilla": "6.0 [S]", "climbing": "22.0 [S]", "penalty": "20.0 [S]", "foraging": "0.554 [S], best episode"}
TITLES = {
    "vanilla": "Vanilla coordination",
    "climbing": "Climbing",
    "penalty": "Penalty (p = -2)",
    "foraging": "Foraging 5x5-2p-2f-coop",
    "program_pd": "Open-source Prisoner's Dilemma",
}
MATRIX_GAMES = ("vanilla", "climbing", "penalty")
_WELFARE, _MEAN, _WORST = "Social welfare", "Mean over starts", "Worst start"


class PibrPreset(RunPreset):
    """A PIBR preset. ``request.iterations`` are outer loops of each start; without them ``request.calls`` are spread
    over as many as they pay for at the preset's steps."""

    def settings(self, request: Request, seed: int) -> list[str]:
        texts = ["execution=local", *(f"{key}={value}" for key, value in self.overrides.items())]
        fixed = [f"{key}={value}" for key, value in self.fixed.items()]
        if request.calls is not None:
            experiment = load_experiment(self.preset, [*texts, *request.overrides, *fixed])
            proposals = experiment.archive_settings((0.0, 1.0)).proposals
            texts.append(f"budget.llm_calls={request.calls}")
            texts.append(f"pibr.iterations={max(1, -(-request.calls // (2 * proposals * experiment.pibr.starts)))}")
        if request.iterations is not None:
            texts.append(f"pibr.iterations={request.iterations}")
        if request.matches is not None:
            texts.append(f"evaluation.matches={request.matches}")
        return [*texts, *request.overrides, *fixed, f"seed={seed}"]


def table() -> Table:
    rows = []
    for task, title in TITLES.items():
        paper = {_WELFARE: _PAPER[task]} if task in _PAPER else {}
        rows.append(Row(task, (title, "textual gradient"), PibrPreset(f"pibr_{task}"), paper))
        if task in MATRIX_GAMES:
            fixed = {"oracle.kind": "exact_best_response"}
            head = (title, "exact best response")
            rows.append(Row(f"{task}/exact_best_response", head, PibrPreset(f"pibr_{task}", {}, fixed)))
        offline = PibrPreset(f"pibr_{task}", {}, {"llm.model": "offline"})
        rows.append(Row(f"{task}/offline", (title, "offline mutation"), offline, shown=False))
    optimum = {_WELFARE: "0.784 [D]", "Completion": "1.00 [D]", "Efficiency": "1.00 [D]"}
    rows.append(Row("foraging/optimum", (TITLES["foraging"], "joint planning, exact"), None, optimum))
    return Table(
        "PIBR: social welfare of the returned profile, and what the starts reached",
        ("Task", "Best responses by"),
        (
            Column(_WELFARE, partial(_figure, "social_welfare"), decimals=3),
            Column(_MEAN, partial(_figure, "over_starts"), decimals=2),
            Column(_WORST, partial(_figure, "worst_start"), decimals=2),
            Column("Completion", partial(_figure, "completion_rate"), decimals=2),
            Column("Efficiency", partial(_figure, "efficiency"), decimals=2),
        ),
        tuple(rows),
        notes=(
            "Ours: mean ± stderr over seeds, max/min: the best seed. Matrix games start from all pure profiles.",
            "Best responses by textual gradient are those of --set llm.model=..., or of each of --models.",
            "Paper: [S] printed in its text, of o4-mini; [D] derived: the exact optimum of the game as defined here.",
        ),
    )


def _figure(key: str, figures: Mapping[str, Any]) -> float | None:
    value: float | None = figures.get(key)
    return value
