"""Columns and rows of the CSRO paper's tables: mixtures of programs against a game's reference population."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from workers.table.core import Column, Row
from workers.table.work import EvaluatePlayer, RunPreset

METHODS = {
    "alpha_evolve": "AlphaEvolve",
    "linear_refinement": "LinearRefinement",
    "best_of_n": "Best of N",
    "zero_shot": "ZeroShot",
}
INPUTS = {"code": "Code", "description": "Desc.", "both": "Both", "none": "-"}
FILTERS = {"none": "-", "top_k": "Top 5", "min_support": "Min support"}
HEADS = ("Method", "Input", "Filter")

SOURCES = (
    "Ours: mean ± standard error over seeds, of one run over its own matches; PopExpl and AggScore by split-half "
    "estimates; max/min: the best seed.",
    "Paper (CSRO, arXiv 2603.10098; a model of 2025): [S] printed in the text we have, [2nd] from secondary sources, "
    "[D] derived from those, ? not known; its max/min are over single policies found, not over seeds alone.",
)


def _figure(key: str, figures: Mapping[str, Any]) -> float | None:
    value: float | None = figures.get(key)
    return value


def _against(opponent: str, figures: Mapping[str, Any]) -> float | None:
    value: float | None = figures.get("by_opponent", {}).get(opponent, {}).get("mean")
    return value


def _error_against(opponent: str, figures: Mapping[str, Any]) -> float | None:
    value: float | None = figures.get("by_opponent", {}).get(opponent, {}).get("stderr")
    return value


METRICS = (
    Column("PopReturn", partial(_figure, "pop_return"), error=partial(_figure, "pop_return_stderr")),
    Column("PopExpl", partial(_figure, "pop_expl"), "min", error=partial(_figure, "pop_expl_stderr")),
    Column("AggScore", partial(_figure, "agg_score"), error=partial(_figure, "agg_score_stderr")),
)


def against(title: str, opponent: str) -> Column:
    """The mixture's return against one member of the population."""
    return Column(title, partial(_against, opponent), error=partial(_error_against, opponent))


def combination(
    game: str, method: str, opponent_input: str, opponent_filter: str, paper: Mapping[str, str] | None = None
) -> Row:
    """An oracle with one opponent input and filter; shown by default if the paper has it."""
    overrides = {"oracle.opponent_input": opponent_input, "oracle.opponent_filter": opponent_filter}
    return Row(
        f"{method}/{opponent_input}/{opponent_filter}",
        (METHODS[method], INPUTS[opponent_input], FILTERS[opponent_filter]),
        RunPreset(f"{game}_{method}", overrides),
        paper or {},
        shown=paper is not None,
    )


def combinations(game: str, known: Mapping[tuple[str, str, str], Mapping[str, str]]) -> list[Row]:
    """Every oracle x input x filter: those of ``known`` (with the paper's figures) first and in its order.

    Where no opponent is shown there is nothing to filter."""
    rows = [combination(game, *key, paper=paper) for key, paper in known.items()]
    for method in METHODS:
        for opponent_input in INPUTS:
            for opponent_filter in FILTERS if opponent_input != "none" else ("none",):
                if (method, opponent_input, opponent_filter) not in known:
                    rows.append(combination(game, method, opponent_input, opponent_filter))
    return rows


def reinforcement(game: str, paper: Mapping[str, str]) -> Row:
    """PSRO whose best responses are trained networks, which asks no model."""
    work = RunPreset(f"{game}_reinforcement", fixed={"oracle.kind": "reinforcement"})
    return Row("reinforcement", ("PSRO-IMPALA", "", ""), work, paper)


def player(game: str, name: str, title: str, paper: Mapping[str, str], shown: bool = True) -> Row:
    """A reference policy or ``seed``, the program that runs start from, evaluated as it is."""
    return Row(f"player/{name}", (title, "", ""), EvaluatePlayer(name, game), paper, shown)


def paper_only(name: str, title: str, paper: Mapping[str, str]) -> Row:
    """A baseline that is not run here."""
    return Row(f"paper/{name}", (title, "", ""), None, paper)
