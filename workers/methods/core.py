"""What a run needs of a method: its searches, its findings, and what it leaves in the run directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evolve.archive.store import Store
from evolve.oracles.core import BestResponseOracle
from evolve.policy_pool import PolicyPool
from evolve.program import Program
from evolve.psro import Observer
from games.core import Game
from workers.experiment import Experiment
from workers.pool import ScorerPool
from workers.telemetry import Telemetry


@dataclass(frozen=True)
class MethodSetup:
    """What a method is made of. ``stop_reason`` is asked before each search; any text ends the run there. ``offered``
    is for methods with a policy pool: see :class:`evolve.psro.Psro`."""

    experiment: Experiment
    game: Game
    store: Store
    pool: ScorerPool
    oracle: BestResponseOracle
    observer: Observer
    telemetry: Telemetry
    llm_calls: Callable[[], int]
    stop_reason: Callable[[], str | None]
    offered: Callable[[int], Sequence[tuple[int, Program]]]


@dataclass(frozen=True)
class Findings:
    """What a run found: the parts of ``summary.json`` that a replay must reproduce, the programs, ``payoffs.json``."""

    iterations: tuple[Mapping[str, Any], ...]
    final: Mapping[str, Any]
    pools: tuple[PolicyPool, ...]
    payoffs: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"iterations": list(self.iterations), "final": dict(self.final)}


class Method(Protocol):
    """One run's algorithm. Resumable: made on a store that an earlier start wrote, it goes on."""

    @property
    def iterations(self) -> int:
        """How many iterations the whole run has, as a person counts them."""
        ...

    @property
    def complete(self) -> bool:
        """Whether every search has ended."""
        ...

    async def search(self) -> None:
        """All searches that are left, until ``stop_reason`` says otherwise."""
        ...

    async def findings(self) -> Findings:
        """The final evaluation."""
        ...
