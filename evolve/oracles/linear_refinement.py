"""LinearRefinement: one line of programs, each a change of the best so far (CSRO Algorithm 1, lines 9-14)."""

from __future__ import annotations

from evolve.archive.core import ArchiveSettings
from evolve.candidate import Candidate, Operator
from evolve.llm.core import BudgetExhaustedError
from evolve.oracles.archive_search import ArchiveSearch, DriverFleet, Effort, OracleSetup, one_line
from evolve.oracles.core import BestResponseOracle
from evolve.oracles.evolver import Search
from evolve.oracles.ordered import OrderedSearch
from evolve.scoring import Failed, Scored


class Refiner(DriverFleet):
    """The fleet: refines while the return against the meta-strategy is negative, and keeps only improvements."""

    async def evolve(self, search: Search) -> bool:
        self._draining = False
        work = OrderedSearch(self._setup, search)
        current: Candidate | None = None
        rejected: Candidate | None = None
        for index in range(search.archive.proposals):
            if current is not None and isinstance(current.evaluation, Scored) and current.score >= 0:
                break  # line 10: it does not lose any more
            if self._draining:
                return False
            try:
                child = await work.develop(index, _directive(current), current, rejected)
            except BudgetExhaustedError:
                return False
            work.commit(index, child)
            if _replaces(child, current):
                current, rejected = child, None
            else:
                rejected = child
        return True


def _directive(current: Candidate | None) -> Operator:
    if current is None:
        return "new"
    return "full" if isinstance(current.evaluation, Scored) else "fix"


def _replaces(child: Candidate, current: Candidate | None) -> bool:
    """Line 13: the program is updated if the score increased. Of two that fail, the newer is the one to repair."""
    if isinstance(child.evaluation, Failed):
        unreadable = child.evaluation.stage == "edit"
        return not unreadable and (current is None or isinstance(current.evaluation, Failed))
    return current is None or isinstance(current.evaluation, Failed) or child.score > current.score


def shape(archive: ArchiveSettings, effort: Effort) -> ArchiveSettings:
    """The first program and its refinements."""
    return one_line(archive, 1 + effort.refinements)


def create(setup: OracleSetup) -> BestResponseOracle:
    return ArchiveSearch(setup, Refiner(setup))
