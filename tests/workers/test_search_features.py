"""The engine's features in whole runs: each has its key, shows in the summary, and replays bit for bit."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.workers.runs import csro, finished, summary
from workers.settings import SettingsError, load_experiment

SMALL = {
    "game.num_rounds": 60,
    "psro.iterations": 2,
    "psro.payoff_matches": 2,
    "oracle.matches": 8,
    "oracle.fresh_matches": 4,
    "oracle.probe_matches": 2,
    "archive.proposals": 48,
    "archive.num_islands": 3,
    "archive.migration_interval": 9,
    "archive.reset_interval": 0,
    "archive.rescore_interval": 3,
    "archive.notes_interval": 4,
    "evaluation.matches": 2,
    "workers.scorers": 1,
    "execution": "local",
}
OFF = {
    "oracle.edit_share": 0.0,
    "oracle.crossover_share": 0.0,
    "oracle.fix_share": 0.0,
    "oracle.prompt_variants": "false",
    "oracle.racing": "false",
    "oracle.novelty": "false",
    "archive.specialist_share": 0.0,
    "archive.rescore_interval": 0,
    "archive.notes_interval": 0,
    "archive.stagnation_limit": 0,
}


def run(out: Path, **overrides: object) -> list[dict[str, Any]]:
    """The iterations of a finished run, and that its replay is identical."""
    values = {**SMALL, **{key.replace("__", "."): value for key, value in overrides.items()}}
    sets = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    finished(csro("run", "rrps_open_ended", "--out", str(out), *sets))
    replayed = finished(csro("replay", str(out), "--json"))
    assert json.loads(replayed.stdout) == {"identical": True, "first_difference": None}
    return list(summary(out)["iterations"])


def commits(out: Path) -> list[dict[str, Any]]:
    return [e for e in map(json.loads, (out / "events.jsonl").open()) if e["type"] == "commit"]


@pytest.mark.slow
def test_all_features_on_show_in_the_summary_and_replay(tmp_path: Path) -> None:
    out = tmp_path / "on"
    for number, iteration in enumerate(run(out, archive__stagnation_limit=6, archive__stagnation_action="reseed")):
        search, events = iteration["search"], [e for e in commits(out) if e["task"] == f"br-{number:03d}"]
        made = Counter(e["operator"] for e in events)
        assert {kind: count["made"] for kind, count in search["operators"].items()} == made
        assert {"edit", "full", "crossover"} <= made.keys()
        assert sum(count["made"] for count in search["variants"].values()) == 48
        effort = search["effort"]
        assert effort["played"] == sum(e["matches"] for e in events) > 0
        assert effort["saved_by_racing"] == sum(e["saved_by_racing"] for e in events)
        assert effort["saved_by_novelty"] == sum(e["saved_by_novelty"] for e in events) > 0
        assert effort["rescored"] > 0
        assert search["notes"] == sum(bool(e["notes"]) for e in events) > 0
        assert search["reseeded"] > 0
        upkeep = search["upkeep"]
        # SMALL has no reset, and the stagnant are founded anew; so islands are often alike, and migrants known there.
        assert upkeep["specialists"] > 0 and upkeep["migrated"] >= 0
        assert (upkeep["reset"], upkeep["explored"]) == (0, 0)
        # Each summary is a call of its own, paid for like any other.
        assert iteration["llm_calls"] == 48 + search["notes"]


@pytest.mark.slow
def test_all_features_off_leave_a_plain_search(tmp_path: Path) -> None:
    for iteration in run(tmp_path / "off", **{**OFF, "archive.migration": "ring", "psro.iterations": 1}):
        search = iteration["search"]
        assert search["operators"].keys() == {"full"}
        assert search["variants"] == {}
        assert (search["reseeded"], search["notes"], iteration["llm_calls"]) == (0, 0, 48)
        effort = search["effort"]
        assert (effort["saved_by_racing"], effort["rescored"], effort["false_elites"]) == (0, 0, 0)
        assert search["upkeep"]["specialists"] == search["upkeep"]["explored"] == 0
    told = summary(tmp_path / "off")["features"]
    assert {key: told[key] for key in OFF} == {key: False if value == "false" else value for key, value in OFF.items()}


@pytest.mark.slow
def test_cells_in_place_of_clusters_replay_too(tmp_path: Path) -> None:
    iterations = run(tmp_path / "cells", archive__selection="map_elites", archive__num_islands=2, psro__iterations=1)
    assert iterations[0]["best_response"] is not None


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("oracle.edit_share=0.95", "must not exceed 1"),
        ("oracle.crossover_share=2", "must not exceed 1"),
        ("oracle.racing_confidence=1.0", "below 1"),
        ("oracle.probe_matches=1", "at least 2"),
        ("archive.specialist_share=1.5", "between 0 and 1"),
        ("archive.selection=grid", "clusters or map_elites"),
        ("archive.migration=star", "ring or random"),
        ("archive.stagnation_action=wait", "explore or reseed"),
        ("oracle.novelty=1", "must be of type bool"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(override: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint) as told:
        load_experiment("rrps_open_ended", [override])
    assert "\n" not in str(told.value)
