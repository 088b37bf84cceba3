"""Results of PIBR as tables for a terminal: what each start reached, and the profile that is returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_LONGEST = 60
"""Characters of a strategy that are shown."""
_FIGURES = {
    "social_welfare": "social welfare",
    "over_starts": "social welfare, mean over starts",
    "worst_start": "social welfare, worst start",
    "best_start": "social welfare, best start",
    "mean_steps": "steps of an episode",
    "completion_rate": "completion rate",
    "collected": "part of the food collected",
    "efficiency": "efficiency E[T*] / E[T]",
}


def profile_tables(final: Mapping[str, Any]) -> list[Table]:
    """What each start reached, then the returned profile with its figures."""
    return [_starts(final["starts"]), _profile(final), _figures(final)]


def _starts(starts: list[Mapping[str, Any]]) -> Table:
    table = Table(title="social welfare reached from each start", title_justify="left")
    for heading in ("start", "initial policies", "at the start", "reached", "outer loop", "exact best response"):
        table.add_column(heading, justify="left" if heading == "initial policies" else "right")
    for entry in starts:
        table.add_row(
            str(entry["start"]),
            "\n".join(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..." for text in entry["initial"]),
            _value(entry["initial_welfare"]),
            _value(entry["social_welfare"], entry["stderr"]),
            "" if entry["step"] is None else str(entry["step"]),
            "" if entry["exact_best_response"] is None else _value(entry["exact_best_response"]),
        )
    return table


def _profile(final: Mapping[str, Any]) -> Table:
    table = Table(title="returned profile", title_justify="left")
    for heading in ("player", "program"):
        table.add_column(heading)
    for seat, program_id in (final["profile"] or {}).items():
        table.add_row(seat, program_id)
    return table


def _figures(final: Mapping[str, Any]) -> Table:
    basis = "exact" if final.get("exact") else f"{final.get('matches', 0)} matches on fresh seeds"
    table = Table(title=f"figures, {basis}", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for key, name in _FIGURES.items():
        if final.get(key) is not None:
            value = _value(final[key], final.get(f"{key}_stderr"))
            table.add_row(name, value if "welfare" in name else value.lstrip("+"))
    return table


def _value(value: float | None, stderr: float | None = None) -> str:
    if value is None:
        return "failed"
    return f"{value:+.3f} ± {stderr:.3f}" if stderr else f"{value:+.3f}"
