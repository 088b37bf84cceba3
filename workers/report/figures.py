"""Numbers as a reader should meet them: a mean with its standard error, to the digits that the error allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

MINUS = "\N{MINUS SIGN}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


@dataclass(frozen=True)
class Figure:
    """An estimate. ``stderr`` is ``None`` where it was not recorded or one match says nothing of it; ``matches``
    is ``None`` where it was not recorded."""

    mean: float
    stderr: float | None = None
    matches: int | None = None

    def __str__(self) -> str:
        """``12.3 ± 0.4``; ``± ?`` for an unknown error, ``(exact)`` for none at all."""
        if self.stderr is None:
            return f"{decimal(self.mean, 1)} {PLUS_MINUS} ?"
        if self.stderr == 0.0:
            value = f"{decimal(self.mean, 2)}" if self.mean % 1 else decimal(self.mean, 0)
            # No spread between matches is certainty only where the value came from no matches at all.
            return value + (" (exact)" if self.matches == 0 else f" {PLUS_MINUS} 0")
        digits = max(0, min(6, 1 - math.floor(math.log10(self.stderr))))
        return f"{decimal(self.mean, digits)} {PLUS_MINUS} {decimal(self.stderr, digits)}"

    @property
    def in_words(self) -> str:
        """With the number of matches behind it."""
        if self.matches is None:
            return str(self)
        return f"{self}, {count(self.matches, 'match', 'matches')}"


def decimal(value: float, digits: int) -> str:
    """Fixed-point with a true minus sign, and no minus sign before zero."""
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def compact(value: float) -> str:
    """Three significant digits, thousands in full; what rounding leaves of zero is zero."""
    if abs(value) <= 1e-9:
        return "0"
    return f"{value:,.0f}".replace("-", MINUS) if abs(value) >= 1000 else f"{value:.3g}".replace("-", MINUS)


def count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def share(weight: float) -> str:
    """A probability in per cent; one that would round to nothing says that it is not."""
    return "<1 %" if 0 < weight < 0.005 else f"{100 * weight:.0f} %"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
