"""The empirical game of each iteration, as ``payoffs.json`` has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from games.core import FloatArray
from workers.report.figures import Figure
from workers.report.values import as_int, as_list, as_number, as_text, as_weights

MIXTURES = "mixtures"
"""Column of a game of more than two players."""


@dataclass(frozen=True)
class Payoffs:
    """The empirical game at one iteration, as ``player`` sees it: rows are the policies of player 0, ``cells`` the
    returns of ``player``; ``weights`` is one mixture per population. With more than two players the rows are the
    policies of ``player``, against the others' mixtures in one column."""

    iteration: int
    player: int
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Figure | None, ...], ...]
    weights: tuple[Mapping[str, float], ...]


def payoffs_of(entry: Mapping[str, object]) -> Iterator[Payoffs]:
    """One record in symmetric games and where one player's returns fix the other's; else one per player."""
    number = as_int(entry.get("iteration")) or 0
    strategy = entry.get("meta_strategy")
    weights = tuple(map(as_weights, as_list(strategy))) if isinstance(strategy, list) else (as_weights(strategy),)
    ids, tables = as_list(entry.get("ids")), [entry.get(key) for key in ("mean", "stderr", "n")]
    if all(isinstance(i, str) for i in ids):
        names = tuple(map(as_text, ids))
        yield Payoffs(number, 0, names, names, _cells(names, names, tables), weights)
        return
    seats = [tuple(map(as_text, as_list(population))) for population in ids]
    if len(seats) != 2:
        for player, rows in enumerate(seats):
            yield Payoffs(number, player, rows, (MIXTURES,), _deviations(seats, weights, player, tables), weights)
        return
    for player in range(2 if entry.get("utility") == "general_sum" else 1):
        own = [as_list(table)[player] if len(as_list(table)) > player else None for table in tables]
        yield Payoffs(number, player, seats[0], seats[1], _cells(seats[0], seats[1], own), weights)


def _deviations(
    seats: Sequence[Sequence[str]], weights: Sequence[Mapping[str, float]], player: int, tables: Sequence[object]
) -> tuple[tuple[Figure | None, ...], ...]:
    """Return of each of the player's policies against the others' mixtures, in one column."""
    shape = tuple(map(len, seats))
    if len(weights) != len(seats) or any(len(as_list(table)) <= player for table in tables):
        return tuple((None,) for _ in seats[player])
    mean, stderr, matches = (_tensor(as_list(table)[player], shape) for table in tables)
    others = np.ones(shape)
    for seat, ids in enumerate(seats):
        if seat != player:
            mixture = np.array([weights[seat].get(program_id, 0.0) for program_id in ids])
            others = others * mixture.reshape([-1 if k == seat else 1 for k in range(len(shape))])
    axes = tuple(k for k in range(len(shape)) if k != player)
    played = others > 0
    means = np.where(played, others * mean, 0.0).sum(axis=axes)
    errors = np.sqrt(np.where(played, (others * stderr) ** 2, 0.0).sum(axis=axes))
    counts = np.where(played, matches, 0.0).sum(axis=axes)
    return tuple(
        (Figure(float(m), float(e), int(n)) if np.isfinite((m, e, n)).all() else None,)
        for m, e, n in zip(means, errors, counts, strict=True)
    )


def _tensor(values: object, shape: tuple[int, ...]) -> FloatArray:
    """Nested lists as an array, NaN where something is missing."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    return array if array.shape == shape else np.full(shape, np.nan)


def _cells(
    rows: Sequence[str], columns: Sequence[str], tables: Sequence[object]
) -> tuple[tuple[Figure | None, ...], ...]:
    def cell(table: object, i: int, j: int) -> float | None:
        row = as_list(as_list(table)[i]) if len(as_list(table)) > i else []
        return as_number(row[j]) if len(row) > j else None

    def figure(i: int, j: int) -> Figure | None:
        mean, stderr, matches = (cell(table, i, j) for table in tables)
        return None if mean is None else Figure(mean, stderr, None if matches is None else int(matches))

    return tuple(tuple(figure(i, j) for j in range(len(columns))) for i in range(len(rows)))
