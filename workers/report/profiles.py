"""What each start of a PIBR run reached, as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.report.figures import Figure
from workers.report.values import as_int, as_list, as_map, as_number, as_text


@dataclass(frozen=True)
class Start:
    """``None`` stands for a profile that failed, or a figure that is not known."""

    number: int
    initial: tuple[str, ...]
    before: Figure | None
    reached: Figure | None
    step: int | None
    exact: Figure | None


def starts(final: Mapping[str, object]) -> list[Start]:
    """In their order; empty for other methods."""
    return [_start(as_map(entry)) for entry in as_list(final.get("starts"))]


def _start(entry: Mapping[str, object]) -> Start:
    return Start(
        as_int(entry.get("start")) or 0,
        tuple(map(as_text, as_list(entry.get("initial")))),
        _figure(entry, "initial_welfare", "initial_stderr"),
        _figure(entry, "social_welfare", "stderr"),
        as_int(entry.get("step")),
        _figure(entry, "exact_best_response", ""),
    )


def _figure(entry: Mapping[str, object], key: str, error: str) -> Figure | None:
    """No spread at all and no error are exact values."""
    value = as_number(entry.get(key))
    if value is None:
        return None
    stderr = as_number(entry.get(error)) or 0.0
    return Figure(value, stderr, 0 if stderr == 0.0 and (entry.get("exact") is True or not error) else None)
