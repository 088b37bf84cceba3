"""What a table is made of: columns that read figures, rows that say how to get them, cells that keep them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from evolve.llm.budget import Usage
from workers.telemetry import Telemetry


@dataclass(frozen=True)
class Request:
    """How every cell of a table is computed; the directory of a table belongs to one request.

    ``overrides`` are ``--set`` texts for every row. ``calls`` is the number of LLM calls that each run may make,
    ``iterations`` the number of iterations they are spread over, ``matches`` those of the final evaluation per bot;
    ``None`` leaves each to the row's preset.
    """

    overrides: tuple[str, ...] = ()
    calls: int | None = None
    iterations: int | None = None
    matches: int | None = None

    def in_words(self, usd: float | None) -> str:
        """The budget of each run and the settings over it, for the foot of the table, which may cost ``usd``."""
        given = {"LLM calls": self.calls, "iterations": self.iterations, "matches at the end": self.matches}
        parts = [f"{number} {name}" for name, number in given.items() if number is not None]
        words = ["Budget of each run: " + (", ".join(parts) or "the row's own")]
        if self.overrides:
            words.append(f"over it --set {' '.join(self.overrides)}")
        if usd is not None:
            words.append(f"{usd:g} USD for all cells")
        return "; ".join(words) + "."


@dataclass(frozen=True)
class Cell:
    """One row with one seed, to be computed in the directory ``path``.

    ``usd_left`` is what the table may still spend; ``None`` is no limit."""

    path: Path
    seed: int
    request: Request
    usd_left: float | None
    telemetry: Telemetry


@dataclass(frozen=True)
class CellResult:
    """What a cell came to: ``figures`` is a JSON object that the table's columns read.

    ``stopped`` says why a run ended before its last iteration, if it did."""

    figures: Mapping[str, Any]
    spent: Usage = field(default_factory=Usage)
    sandbox_level: int | None = None
    stopped: str | None = None

    def save(self, path: Path) -> None:
        text = json.dumps({**asdict(self), "figures": dict(self.figures)}, allow_nan=False)
        temporary = path.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> CellResult:
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "spent": Usage(**values["spent"])})


class Work(Protocol):
    """How a row gets its figures for one seed."""

    def compute(self, cell: Cell) -> CellResult:
        """Goes on where an earlier, killed call in the same ``cell.path`` was.

        Raises what :func:`workers.errors.run_errors` lists, and ``RunInterruptedError`` on Ctrl-C."""
        ...


@dataclass(frozen=True)
class Column:
    """One figure: how it is read from a cell (``None``: not known), and whether the best seed is the highest or the
    lowest one. ``error`` reads the cell's own standard error, over its matches, which is shown where there is but one
    seed."""

    title: str
    read: Callable[[Mapping[str, Any]], float | None]
    best: Literal["max", "min"] = "max"
    decimals: int = 1
    error: Callable[[Mapping[str, Any]], float | None] | None = None


@dataclass(frozen=True)
class Row:
    """``name`` is what ``--rows`` takes, ``head`` what is printed under the table's ``heads``.

    ``work`` is ``None`` where only the paper's figures are known. ``paper`` holds these by column title, each with the
    tag of its source. ``shown`` rows make the table that is asked for without ``--rows``.
    """

    name: str
    head: tuple[str, ...]
    work: Work | None
    paper: Mapping[str, str] = field(default_factory=dict)
    shown: bool = True


@dataclass(frozen=True)
class Table:
    """Rows and columns; ``notes`` are printed below (what the tags of the paper's figures mean, say)."""

    title: str
    heads: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    notes: tuple[str, ...] = ()
