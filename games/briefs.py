"""Wording shared by the games' briefs: what any policy program may import and may not do."""

from __future__ import annotations

import textwrap

ALLOWED_MODULES = (
    "abc",
    "array",
    "bisect",
    "collections",
    "copy",
    "dataclasses",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "math",
    "numpy",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
    "typing",
)
"""What policies may import: the sandbox loads these before it shuts the file system off."""

_ONE_MATCH = """\
One object plays one match; it is built afresh for the next, so what it learns about an opponent it keeps
in its own attributes."""

_COMMON = """\
All randomness must come from a private generator made from the seed
(random.Random(seed) or numpy.random.default_rng(seed)). Allowed modules:
{modules}.
There are no files, network, threads, processes or clocks, and printing shows nothing. An exception, an
illegal action or a move over its time limit forfeits. The docstring states the strategy in a sentence or two."""


def policy_class_api(act_returns: str, observation: str) -> str:
    """The policy API of a game whose programs are a class: what ``act`` returns and what it sees."""
    head = """\
class Policy:
    def __init__(self, player, seed): ...   # player: int, the seat; seed: int
    def act(self, observation): ...         # called once for each decision
"""
    return "\n".join((head, act_returns, textwrap.dedent(observation).strip(), "", _ONE_MATCH, common_rules()))


def common_rules() -> str:
    """What holds for every policy program of every game: randomness, modules, forfeits, the docstring."""
    return _COMMON.format(modules=textwrap.fill(", ".join(ALLOWED_MODULES), width=110))
