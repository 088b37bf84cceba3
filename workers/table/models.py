"""The rows of a table under each of several models, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workers.table.core import Row, Table
from workers.table.work import EvaluateAgent, RunPreset


def by_model(table: Table, rows: Sequence[Row], models: Sequence[str]) -> tuple[Table, list[Row]]:
    """The table with a column for the model, and each of ``rows`` that asks one once for each of ``models``.

    Those rows are named ``NAME@MODEL``; others stand as they are."""
    spread = [copy for row in rows for copy in _copies(row, models)]
    return replace(table, heads=(*table.heads, "Model")), spread


def _copies(row: Row, models: Sequence[str]) -> list[Row]:
    work = row.work
    if not isinstance(work, RunPreset | EvaluateAgent) or not work.asks_a_model:
        return [replace(row, head=(*row.head, ""))]
    return [
        replace(
            row,
            name=f"{row.name}@{model}",
            head=(*row.head, model),
            work=replace(work, fixed={**work.fixed, "llm.model": model}),
        )
        for model in models
    ]
