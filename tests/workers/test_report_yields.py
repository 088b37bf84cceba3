"""The report's account of the searches: children per kind over all iterations, matches played and saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.workers.run_directory import finished_run
from workers.report import render_report, yields


def search(made: int, scored: int, improved: int, **more: Any) -> dict[str, Any]:
    effort = {"played": 100, "saved_by_racing": 7, "saved_by_novelty": 20, "rescored": 3, "false_elites": 1}
    counts = {"made": made, "scored": scored, "improved": improved}
    return {"search": {"operators": {"edit": counts}, "variants": {}, "effort": effort, **more}}


SUMMARY = {"iterations": [search(10, 8, 1, notes=2, reseeded=0), search(30, 22, 3), {"iteration": 3}]}


def test_children_are_counted_over_all_iterations() -> None:
    (table,) = yields.tables(SUMMARY)
    assert (table.heading, [(r.kind, r.made, r.ran, r.improved) for r in table.rows]) == (
        "Operator",
        [("edit", 40, "75 %", "10 %")],
    )


def test_a_program_written_from_nothing_has_no_parent_to_beat() -> None:
    counted = {"made": 4, "scored": 3, "improved": 0}
    (table,) = yields.tables({"iterations": [{"search": {"operators": {"new": counted}}}]})
    assert [(row.ran, row.improved) for row in table.rows] == [("75 %", "\N{EN DASH}")]


def test_what_was_saved_is_told_in_words() -> None:
    played, rescored, notes = yields.effort(SUMMARY)
    assert played.startswith("200 matches played by children, 54 not needed: 14 of children beaten")
    assert rescored.startswith("6 leading programs") and "2 of them" in rescored
    assert notes == "2 summaries written by islands"


def test_a_run_that_counted_nothing_shows_nothing(tmp_path: Path) -> None:
    assert yields.tables({}) == [] and yields.effort({"iterations": [{}]}) == []
    run = finished_run(tmp_path / "run")
    assert "Better than their parent" not in render_report(run.path).read_text(encoding="utf-8")


def test_the_page_shows_them(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    file = run.path / "summary.json"
    summary = json.loads(file.read_text(encoding="utf-8"))
    for entry in summary["iterations"]:
        entry.update(search(4, 3, 1))
    file.write_text(json.dumps(summary), encoding="utf-8")
    page = render_report(run.path).read_text(encoding="utf-8")
    assert "Children by operator" in page and "not needed" in page
