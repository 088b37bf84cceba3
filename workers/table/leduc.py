"""CSRO paper, tables 2 and 8: repeated Leduc hold'em against CFR+, AlwaysCall and AlwaysFold, chips per 100 hands."""

from __future__ import annotations

from workers.table.core import Table
from workers.table.population import HEADS, METRICS, SOURCES, against, combinations, player, reinforcement

_VERSUS = {"vs CFR+": "cfr+", "vs AlwaysCall": "AlwaysCall", "vs AlwaysFold": "AlwaysFold"}
_TITLES = ("PopReturn", "PopExpl", "AggScore", *_VERSUS)

_PAPER = {  # the paper shows descriptions of all opponents to every oracle in this game
    ("alpha_evolve", "description", "none"): (
        *("49.3 ± 3.7 [2nd]", "4.4 ± 0.6 [2nd]", "44.9 ± 4.1 [2nd]"),
        *("-4.4 [D] ± 0.6 [S]", "? ± 9.7 [S]", "? ± 3.2 [S]"),
    ),
    ("linear_refinement", "description", "none"): (
        *("? ± 2.5 [S]", "? ± 3.0 [S]", "? ± 4.3 [S]"),
        *("? ± 3.0 [S]", "? ± 5.1 [S]", "? ± 8.8 [S]"),
    ),
    ("zero_shot", "description", "none"): (
        *("? ± 1.6 [S]", "? ± 2.1 [S]", "? ± 3.0 [S]"),
        *("? ± 2.1 [S]", "? ± 3.0 [S]", "? ± 6.1 [S]"),
    ),
    ("best_of_n", "code", "none"): (),
}
_CFR = ("39.8 [D] ± 0.3 [S]", "0.0 ± 0.0 [S]", "39.8 [2nd] ± 0.3 [S]", "? ± 0.0 [S]", "? ± 0.8 [S]", "? ± 0.2 [S]")
_IMPALA = ("? ± 6.9 [S]", "? ± 3.3 [S]", "? ± 10.1 [S]", "? ± 3.3 [S]", "? ± 3.3 [S]", "? ± 14.1 [S]")


def table() -> Table:
    rows = combinations("leduc", {key: _titled(figures) for key, figures in _PAPER.items()})
    rows.append(player("repeated_leduc", "cfr+", "CFR+", _titled(_CFR)))
    for name in ("AlwaysCall", "AlwaysFold", "AlwaysRaise"):
        rows.append(player("repeated_leduc", name, name, {}))
    rows.append(player("repeated_leduc", "seed", "the runs' seed program", {}))
    rows.append(reinforcement("leduc", _titled(_IMPALA)))
    return Table(
        "Repeated Leduc hold'em: chips per 100 hands",
        HEADS,
        (*METRICS, *(against(title, name) for title, name in _VERSUS.items())),
        tuple(rows),
        notes=(
            *SOURCES,
            "Best single policy of the paper: PopReturn 77.8, AggScore 69.1 [S]; the ceiling is 82.2 [D].",
        ),
    )


def _titled(figures: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(_TITLES, figures, strict=True)) if figures else {}
