"""What every oracle of this package does around its proposals: founders in, proposals, the best of them promoted.

Oracles differ in the fleet that makes the proposals: evolvers on islands, or one line of requests in the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, cast

from evolve.archive.core import Archive, ArchiveSettings, in_order
from evolve.archive.store import Store
from evolve.candidate import Candidate
from evolve.llm.core import LLM
from evolve.oracles.carry_over import carried_over
from evolve.oracles.cascade import CascadeSettings
from evolve.oracles.core import BestResponseTask, FoundersFailedError, Response
from evolve.oracles.evolver import Search
from evolve.oracles.promotion import Promotion, promote
from evolve.prompting import PromptSettings
from evolve.reinforcement.core import Trainer
from evolve.scoring import Failed, Scored, Scorer
from games.core import Game


class Fleet(Protocol):
    """Whoever makes the proposals of a search: this process, Ray actors, or a replay of a recorded order."""

    async def evolve(self, search: Search) -> bool:
        """True if the search came to its end, False if it was drained or no budget was left to pay for it."""
        ...

    async def drain(self) -> None:
        """Proposals in flight are finished and committed; :meth:`evolve` then returns."""
        ...


Supervisor = Callable[[Fleet, Search], Awaitable[None]]
"""Has a fleet make its proposals, and may end them early; raises to keep the search from its promotion."""


@dataclass(frozen=True)
class Effort:
    """How oracles search that have no islands: ``samples`` of best of N, ``refinements`` of a line.

    Of the textual gradient: ``steps`` (PIBR's T), the ``variable`` that they rewrite (the policy's code, or the
    instructions that a model writes it by), how much earlier feedback is shown (``gradient_memory``), further
    ``constraints`` in words, and which policy it ``returns``, the last or the best. Of reinforcement learning:
    ``training_steps``, the learner's own moves, and how many ``checkpoints`` on the way there are candidates.
    """

    samples: int = 12
    refinements: int = 10
    steps: int = 6
    variable: Literal["code", "prompt"] = "code"
    returns: Literal["last", "best"] = "best"
    gradient_memory: int = 3
    constraints: str = ""
    training_steps: int = 400_000
    checkpoints: int = 8


@dataclass(frozen=True)
class OracleSetup:
    """What oracles are made of.

    ``llm`` and ``in_flight`` serve oracles that ask from the driver, ``fleet`` those that spread over processes.
    ``carry_over`` is the number of programs of earlier searches that found each new one. ``trainer`` serves the oracle
    that learns without a model.
    """

    game: Game
    store: Store
    scorer: Scorer
    llm: LLM
    in_flight: int
    fleet: Fleet
    supervise: Supervisor
    archive: ArchiveSettings
    prompts: PromptSettings
    carry_over: int = 0
    cascade: CascadeSettings = field(default_factory=CascadeSettings)
    effort: Effort = Effort()
    trainer: Trainer | None = None


class ArchiveSearch:
    """The :class:`evolve.oracles.core.BestResponseOracle` over a fleet."""

    def __init__(self, setup: OracleSetup, fleet: Fleet) -> None:
        self._setup = setup
        self._fleet = fleet

    async def respond(self, task: BestResponseTask) -> Response:
        """See :class:`evolve.oracles.core.BestResponseOracle`. Raises ``FoundersFailedError`` if no incumbent runs."""
        setup = self._setup
        archive = setup.store.archive(task.task_id, setup.archive)
        carried = await self._found(task, archive)
        await setup.supervise(self._fleet, Search(task, setup.archive, setup.prompts, setup.cascade))
        promotion = await self._promote(task, in_order(archive))
        progress = archive.progress()
        return Response(
            promotion.best, progress.committed, progress.failures, promotion.rejected, carried, progress.to_json()
        )

    async def _promote(self, task: BestResponseTask, ranked: Iterable[Candidate]) -> Promotion:
        """The response among the programs of the archive, best first."""
        return await promote(task, ranked, self._setup.scorer)

    async def _found(self, task: BestResponseTask, archive: Archive) -> int:
        """Founds the archive, unless an earlier start did. Returns how many founders are carried over."""
        setup, name = self._setup, f"founders:{task.task_id}"
        if archive.candidate(task.incumbents[0].id) is not None:
            return cast(int, (setup.store.load(name) or {"carried": 0})["carried"])
        programs = list({program.id: program for program in task.incumbents}.values())
        evaluations = await asyncio.gather(*(setup.scorer.score(program, task.scoring) for program in programs))
        founders = [Candidate(p, e) for p, e in zip(programs, evaluations, strict=True)]
        veterans = await carried_over(setup.store, setup.archive, setup.scorer, task, setup.carry_over)
        founders += veterans
        if not any(isinstance(founder.evaluation, Scored) for founder in founders):
            raise FoundersFailedError(_why(founders))
        setup.store.save(name, {"carried": len(veterans)})
        archive.found(founders)
        return len(veterans)


def _why(founders: Sequence[Candidate]) -> str:
    first = founders[0].evaluation
    assert isinstance(first, Failed)
    last_line = (first.traceback.strip().splitlines() or [""])[-1]
    return (
        f"none of the {len(founders)} programs that the search starts from runs; the first, "
        f"{founders[0].program.id}, ended with {first.fault}: {last_line}. Are the sandbox's limits too tight?"
    )


class DriverFleet:
    """A fleet whose proposals are made in the driver."""

    def __init__(self, setup: OracleSetup) -> None:
        self._setup = setup
        self._draining = False

    async def drain(self) -> None:
        """See :class:`Fleet`."""
        self._draining = True


def one_line(archive: ArchiveSettings, proposals: int) -> ArchiveSettings:
    """The archive of a search without islands: one, never reset."""
    return replace(archive, num_islands=1, proposals=proposals, migration_interval=0, reset_interval=0)
