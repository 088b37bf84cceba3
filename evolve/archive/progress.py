"""What an archive counts while it works: for those who watch a search, and for the run's summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from evolve.candidate import IslandRef

UPKEEP = ("reset", "migrated", "specialists", "explored")
"""What :attr:`Progress.upkeep` counts."""


@dataclass(frozen=True)
class IslandStatus:
    """Best and mean score of the programs on an island, how many there are, and its commits since the best rose."""

    ref: IslandRef
    best: float | None
    mean: float | None
    programs: int
    stalled: int = 0


@dataclass(frozen=True)
class Yield:
    """Children of one kind: how many were made, how many of them ran, how many did better than their parent."""

    made: int = 0
    scored: int = 0
    improved: int = 0


@dataclass(frozen=True)
class Effort:
    """Matches that the children's evaluations played, and those that racing and known behaviour made needless;
    elites that played further matches, and how many of these lost the first place of an island by them."""

    played: int = 0
    saved_by_racing: int = 0
    saved_by_novelty: int = 0
    rescored: int = 0
    false_elites: int = 0


@dataclass(frozen=True)
class Progress:
    """Counters of the task. ``done`` when every proposal is committed.

    ``operators`` and ``variants`` are the yields per operator and per prompt variant, ``reseeded`` the islands that
    were founded anew because they stagnated, ``notes`` the summaries that islands wrote. ``upkeep`` counts islands that
    were ``reset``, programs that ``migrated``, and proposals whose first parent was a specialist (``specialists``) or
    whose island was stagnant (``explored``)."""

    proposals: int
    handed_out: int
    committed: int
    outcomes: Mapping[str, int]
    failures: Mapping[str, int]
    islands: tuple[IslandStatus, ...]
    operators: Mapping[str, Yield] = field(default_factory=dict)
    variants: Mapping[str, Yield] = field(default_factory=dict)
    effort: Effort = field(default_factory=Effort)
    reseeded: int = 0
    notes: int = 0
    upkeep: Mapping[str, int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.committed >= self.proposals

    def to_json(self) -> dict[str, Any]:
        """What the run's summary tells of the search."""
        return {
            "outcomes": dict(self.outcomes),
            "operators": {kind: asdict(count) for kind, count in sorted(self.operators.items())},
            "variants": {name: asdict(count) for name, count in sorted(self.variants.items())},
            "effort": asdict(self.effort),
            "reseeded": self.reseeded,
            "notes": self.notes,
            "upkeep": {name: self.upkeep.get(name, 0) for name in UPKEEP},
        }
