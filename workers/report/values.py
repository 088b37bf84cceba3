"""Values of unknown type, as JSON files hold them, read without an error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from workers.report.figures import Figure


def as_map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def as_number(value: object) -> float | None:
    """A finite number, else ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def as_int(value: object) -> int | None:
    number = as_number(value)
    return None if number is None else int(number)


def as_text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def as_figure(value: object, matches: int | None = None) -> Figure | None:
    """A figure from a plain number or from a map of mean (or mean_return), stderr and matches."""
    if isinstance(value, dict):
        mean = as_number(value.get("mean", value.get("mean_return")))
        found = as_int(value.get("matches"))
        stderr = as_number(value.get("stderr"))
        return None if mean is None else Figure(mean, stderr, found if found is not None else matches)
    mean = as_number(value)
    return None if mean is None else Figure(mean, None, matches)


def as_weights(value: object) -> dict[str, float]:
    weights = {key: as_number(weight) for key, weight in as_map(value).items()}
    return {key: weight for key, weight in weights.items() if weight is not None}
