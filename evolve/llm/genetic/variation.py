"""A child of a program: one to several random mutations or crossovers, each of which leaves a sound program."""

from __future__ import annotations

import ast
from collections.abc import Sequence

import numpy as np

from evolve.llm.genetic.crossover import CROSSOVERS
from evolve.llm.genetic.flow import problems
from evolve.llm.genetic.operators import MUTATIONS, Operator
from evolve.llm.genetic.parts import Workshop
from evolve.llm.genetic.source import Source

_MOST_ATTEMPTS = 80
_LARGEST_SOURCE = 16_000
"""Characters; against programs that only grow. One that is longer to begin with may grow by a few lines."""
_MARGIN = 500
_STOP = 0.55
"""Probability of no further change after each: the number of changes is geometric, 1.8 on average."""

_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


def vary(program: Source, donors: Sequence[Source], rng: np.random.Generator) -> str | None:
    """A changed program, or ``None`` if nothing sound was found.

    Lines outside the EVOLVE-BLOCK markers, comments and docstrings stay as they are. The child compiles and has
    no problem with names (:func:`evolve.llm.genetic.flow.problems`) that ``program`` lacks. Nothing is executed.
    """
    allowed, seen = problems(program.tree), {ast.unparse(program.tree)}
    longest = max(_LARGEST_SOURCE, len(program.text) + _MARGIN)
    shop, wanted = Workshop(program, donors, rng), int(rng.geometric(_STOP))
    for _ in range(_MOST_ATTEMPTS):
        if wanted == 0:
            break
        child = _sound(_draw_operator(shop)(shop), allowed, longest)
        if child is not None and (form := ast.unparse(child.tree)) not in seen:
            seen.add(form)
            shop, wanted = Workshop(child, donors, rng), wanted - 1
    return shop.source.text if shop.source is not program else None


def parse(text: str) -> Source | None:
    """The text as a program, ``None`` if it is none."""
    try:
        return Source(text)
    except _UNPARSABLE:
        return None


def _draw_operator(shop: Workshop) -> Operator:
    table = {**MUTATIONS, **CROSSOVERS} if shop.donors else MUTATIONS
    weights = np.array(list(table.values()))
    return list(table)[int(shop.rng.choice(len(table), p=weights / weights.sum()))]


def _sound(text: str | None, allowed: frozenset[str], longest: int) -> Source | None:
    source = parse(text) if text is not None and len(text) <= longest else None
    if source is None or not problems(source.tree) <= allowed:
        return None
    try:
        compile(source.tree, "<child>", "exec")
    except _UNPARSABLE:
        return None
    return source
