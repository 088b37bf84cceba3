"""ZeroShot: one proposal, taken as it is (CSRO section 2.4.2, variant 1: the refinement stage is never entered)."""

from __future__ import annotations

from evolve.archive.core import ArchiveSettings
from evolve.oracles.archive_search import ArchiveSearch, Effort, OracleSetup, one_line
from evolve.oracles.best_of_n import Sampler
from evolve.oracles.core import BestResponseOracle


def shape(archive: ArchiveSettings, effort: Effort) -> ArchiveSettings:
    return one_line(archive, 1)


def create(setup: OracleSetup) -> BestResponseOracle:
    """The best of one."""
    return ArchiveSearch(setup, Sampler(setup))
