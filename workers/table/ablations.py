"""What the search adds, call for call: independent samples, a line of refinements, islands, and islands without an LLM.

All rows play repeated rock-paper-scissors with opponents shown as code, top 5, under the same ``--calls``. The offline
proposer is genetic programming on syntax trees: the same islands, but blind changes."""

from __future__ import annotations

from workers.table.core import Row, Table
from workers.table.population import METRICS, SOURCES
from workers.table.work import RunPreset

_INPUT = {"oracle.opponent_input": "code", "oracle.opponent_filter": "top_k"}


def table() -> Table:
    rows = (
        _row("best_of_n", "i.i.d. samples, the best kept", "rrps_best_of_n"),
        _row("linear_refinement", "one line of refinements", "rrps_linear_refinement"),
        _row("alpha_evolve", "islands (AlphaEvolve)", "rrps_alpha_evolve"),
        _row("one_island", "one island", "rrps_alpha_evolve", {"archive.num_islands": 1, "archive.reset_interval": 0}),
        _row("no_inspirations", "islands, parents alone", "rrps_alpha_evolve", {"archive.num_inspirations": 0}),
        _row("no_carry_over", "islands, each search anew", "rrps_alpha_evolve", {"oracle.carry_over": 0}),
        _row("no_edits", "islands, full rewrites only", "rrps_alpha_evolve", {"oracle.edit_share": 0.0}),
        _row("offline", "islands, offline mutation", "rrps_alpha_evolve", fixed={"llm.model": "offline"}),
    )
    note = "Give --calls and --iterations, so that all rows make the same number of calls; offline calls cost nothing."
    return Table(
        "Ablations on repeated rock-paper-scissors: points per match against the 43 bots",
        ("Search",),
        METRICS,
        rows,
        notes=(SOURCES[0], note),
    )


def _row(
    name: str,
    title: str,
    preset: str,
    settings: dict[str, object] | None = None,
    fixed: dict[str, object] | None = None,
) -> Row:
    return Row(name, (title,), RunPreset(preset, {**_INPUT, **(settings or {})}, fixed or {}))
