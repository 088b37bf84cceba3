"""CSRO paper, tables 1 and 7: repeated rock-paper-scissors against the 43 bots, points per match of 1000 rounds."""

from __future__ import annotations

from workers.table.core import Row, Table
from workers.table.population import HEADS, METRICS, SOURCES, combinations, paper_only, player, reinforcement
from workers.table.work import EvaluateAgent

_Printed = tuple[str, float, str, float, str, float]
"""PopReturn and its max, PopExpl and its min, AggScore and its max, as far as they are known."""

_PAPER: dict[tuple[str, str, str], _Printed] = {
    ("alpha_evolve", "description", "none"): ("? ± 1.9", 54.2, "25.2 [2nd] ± 20.3", 3.3, "? ± 21.6", 47.6),
    ("linear_refinement", "description", "none"): ("? ± 29.9", 171.8, "? ± 12.4", 11.8, "? ± 21.4", 128.1),
    ("linear_refinement", "code", "top_k"): ("? ± 7.7", 189.1, "? ± 10.6", 8.8, "122.1 [2nd] ± 9.8", 141.3),
    ("zero_shot", "description", "none"): ("? ± 15.4", 177.8, "? ± 25.9", 18.9, "? ± 11.4", 86.9),
    ("linear_refinement", "code", "none"): ("? ± 20.4", 238.3, "? ± 27.4", 15.7, "? ± 26.1", 148.1),
    ("zero_shot", "description", "top_k"): ("? ± 23.9", 207.3, "? ± 23.5", 38.2, "? ± 40.0", 155.9),
    ("zero_shot", "code", "top_k"): ("? ± 39.0", 190.0, "? ± 17.9", 53.2, "? ± 51.0", 111.7),
    ("zero_shot", "code", "min_support"): ("? ± 30.6", 160.9, "? ± 30.1", 24.8, "? ± 45.0", 122.7),
    ("zero_shot", "description", "min_support"): ("? ± 13.5", 204.5, "? ± 45.2", 38.0, "? ± 48.9", 133.1),
    ("linear_refinement", "description", "min_support"): ("? ± 23.5", 185.9, "? ± 41.6", 28.9, "? ± 54.2", 84.4),
    ("linear_refinement", "code", "min_support"): ("? ± 40.0", 152.3, "? ± 67.7", 54.2, "? ± 101.6", 98.1),
    ("linear_refinement", "description", "top_k"): ("? ± 22.2", 187.6, "? ± 98.5", 67.1, "? ± 105.7", 110.5),
    ("zero_shot", "code", "none"): ("? ± 26.1", 208.3, "? ± 92.7", 95.8, "? ± 118.7", 112.6),
    ("zero_shot", "none", "none"): ("? ± 10.2", 173.2, "? ± 60.8", 411.7, "? ± 70.2", -238.5),
}
_GEMMA = {  # an LLM asked at every turn: size: PopReturn, PopExpl, AggScore
    "27B": (193.2, 67.2, 126.0),
    "4B": (187.2, 87.8, 99.4),
    "1B": (162.7, 141.3, 21.4),
    "270M": (167.0, 85.2, 81.8),
}
_BOTS = {  # OpenSpiel's own 43 x 43 table of 1000 matches a pair
    "greenberg": (288.2, 3.6, 284.5),
    "iocainebot": (255.0, 5.0, 250.0),
    "phasenbott": (232.2, 111.7, 120.5),
    "randbot": (0.2, 1.2, -1.0),
}
_LEARNERS = {  # the paper has QL and ContRM, figures unknown; the definitions are ours
    "q_learning-10": "QL (R = 10, self-play)",
    "regret_matching-selfplay-1": "ContRM (R = 1, self-play)",
    "regret_matching-1": "ContRM (R = 1, online)",
    "regret_matching-2": "ContRM (R = 2, online)",
}


def table() -> Table:
    known: dict[tuple[str, str, str], dict[str, str]] = {key: _printed(*value) for key, value in _PAPER.items()}
    # LLM-PSRO, which the paper compares with in words: the best of N, with the opponents' full sources.
    known["best_of_n", "code", "none"] = {}
    rows: list[Row] = combinations("rrps", known)
    rows += [player("repeated_rps", bot, bot, _plain(figures, "[OS]")) for bot, figures in _BOTS.items()]
    rows += [player("repeated_rps", name, title, {}) for name, title in _LEARNERS.items()]
    rows.append(player("repeated_rps", "seed", "the runs' seed program", {}))
    rows += [paper_only(f"gemma-{size}", f"LLM agent ({size})", _plain(f, "[S]")) for size, f in _GEMMA.items()]
    # Not shown unasked: a match costs a call for every round but the first.
    rows.append(Row("llm_agent", ("LLM agent (llm.model)", "", ""), EvaluateAgent("repeated_rps"), shown=False))
    impala = {"PopReturn": "? ± 17.6 [S]", "PopExpl": "? ± 28.0 [S]", "AggScore": "-532.1 [2nd] ± 41.5 [S]"}
    rows.append(reinforcement("rrps", impala))
    return Table(
        "Repeated rock-paper-scissors: points per match against the 43 bots",
        HEADS,
        METRICS,
        tuple(rows),
        notes=(*SOURCES, "[OS]: OpenSpiel's table of 1000 matches per pair of bots."),
    )


def _printed(*printed: object) -> dict[str, str]:
    pairs = zip(printed[::2], ("max", "min", "max"), printed[1::2], strict=True)
    return {
        column.title: f"{mean} [S], {best} {value} [S]"
        for column, (mean, best, value) in zip(METRICS, pairs, strict=True)
    }


def _plain(figures: tuple[float, ...], source: str) -> dict[str, str]:
    return {column.title: f"{value} {source}" for column, value in zip(METRICS, figures, strict=True)}
