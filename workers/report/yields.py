"""What the searches made of their proposals: children per operator and prompt variant, and the matches they took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.report.figures import count, share
from workers.report.values import as_int, as_list, as_map

_PARTS = (("operators", "Operator"), ("variants", "Prompt variant"))
_EFFORT = ("played", "saved_by_racing", "saved_by_novelty", "rescored", "false_elites")
_NOTES = (
    ("reseeded", "island founded anew after stagnation", "islands founded anew after stagnation"),
    ("notes", "summary written by an island", "summaries written by islands"),
)
_NO_PARENT = "\N{EN DASH}"  # a program written from nothing has none to be better than


@dataclass(frozen=True)
class YieldRow:
    """``ran`` and ``improved`` (did better than its parent) are shares of the children ``made``."""

    kind: str
    made: int
    ran: str
    improved: str


@dataclass(frozen=True)
class YieldTable:
    heading: str
    rows: tuple[YieldRow, ...]


def tables(summary: Mapping[str, object]) -> list[YieldTable]:
    """Over all iterations; a part that no search counted is left out."""
    searches = _searches(summary)
    found = [YieldTable(title, _rows(searches, part)) for part, title in _PARTS]
    return [table for table in found if table.rows]


def effort(summary: Mapping[str, object]) -> list[str]:
    """What the evaluations cost and what was saved, in words; empty if no search told."""
    searches = _searches(summary)
    amount = {name: sum(as_int(as_map(s.get("effort")).get(name)) or 0 for s in searches) for name in _EFFORT}
    if not any(amount.values()):
        return []
    saved = amount["saved_by_racing"] + amount["saved_by_novelty"]
    lines = [
        f"{count(amount['played'], 'match', 'matches')} played by children, {saved:,} not needed: "
        f"{amount['saved_by_racing']:,} of children beaten by their parents early, "
        f"{amount['saved_by_novelty']:,} of children that did what a known program does",
        f"{count(amount['rescored'], 'leading program', 'leading programs')} played again on further seeds, "
        f"{amount['false_elites']:,} of them lost the first place by it",
    ]
    totals = [(sum(as_int(s.get(key)) or 0 for s in searches), one, many) for key, one, many in _NOTES]
    return lines + [count(total, one, many) for total, one, many in totals if total]


def _searches(summary: Mapping[str, object]) -> list[Mapping[str, object]]:
    return [as_map(as_map(entry).get("search")) for entry in as_list(summary.get("iterations"))]


def _rows(searches: Sequence[Mapping[str, object]], part: str) -> tuple[YieldRow, ...]:
    totals: dict[str, list[int]] = {}
    for search in searches:
        for kind, counted in as_map(search.get(part)).items():
            total = totals.setdefault(kind, [0, 0, 0])
            for place, name in enumerate(("made", "scored", "improved")):
                total[place] += as_int(as_map(counted).get(name)) or 0
    return tuple(
        YieldRow(kind, made, share(ran / made), _NO_PARENT if kind == "new" else share(improved / made))
        for kind, (made, ran, improved) in sorted(totals.items())
        if made
    )
