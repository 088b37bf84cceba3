"""What both drivers ask of an oracle: a program that does well against a meta-strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from evolve.candidate import Candidate
from evolve.program import Program
from evolve.scoring import Scored, ScoringTask


@dataclass(frozen=True)
class BestResponseTask:
    """Find a program with a high return in ``scoring`` (the mixture, the seat, the matches, the search seeds).

    ``task_id`` names the task within its run (``br-003``); ``incumbents`` are programs to start from, the
    game's seed program among them. ``taken`` are ids already in the policy pool: none of them is a new best response.
    ``fresh_seed`` seeds the matches of the re-scoring before promotion, which the search never sees. ``earlier`` names
    the same player's earlier tasks, oldest first, whose programs may be carried over.
    """

    task_id: str
    scoring: ScoringTask
    incumbents: tuple[Program, ...]
    taken: frozenset[str]
    seed: int
    fresh_seed: int
    fresh_matches_per_opponent: int
    previous: str = ""
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class BestResponse:
    """The winner with its score on the search's seeds, and the score that counts: on fresh seeds."""

    candidate: Candidate
    fresh: Scored

    def to_json(self) -> dict[str, object]:
        """As summaries show it: the program's id and the score on fresh seeds."""
        fresh = self.fresh
        return {
            "id": self.candidate.program.id,
            "mean_return": fresh.mean_return,
            "stderr": fresh.stderr,
            "matches": fresh.matches,
        }


@dataclass(frozen=True)
class Rejection:
    """A finalist that failed when it was to be promoted: on fresh seeds, or in the replay audit."""

    program_id: str
    fault: str
    detail: str


@dataclass(frozen=True)
class Response:
    """What a search came to. ``best`` is ``None`` if no program outside the pool ran (after an exhausted budget, say).

    ``programs`` counts the children evaluated, ``failures`` those that failed by fault, ``carried`` the founders that
    came from earlier searches, ``search`` is what the archive counted, as
    :meth:`evolve.archive.progress.Progress.to_json` tells it."""

    best: BestResponse | None
    programs: int
    failures: Mapping[str, int]
    rejected: tuple[Rejection, ...] = ()
    carried: int = 0
    search: Mapping[str, object] = field(default_factory=dict)


class FoundersFailedError(RuntimeError):
    """No program that a search could start from runs: one line with the first fault."""


class MissingExtraError(ValueError):
    """An oracle needs packages that are not installed here."""


class BestResponseOracle(Protocol):
    """Computes an approximate best response. Resumable: the same ``task_id`` goes on where it was left."""

    async def respond(self, task: BestResponseTask) -> Response: ...
