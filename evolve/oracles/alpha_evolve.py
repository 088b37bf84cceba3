"""AlphaEvolve: islands of programs, evolved by a fleet of evolvers (CSRO section 2.4.2, variant 3)."""

from __future__ import annotations

from evolve.archive.core import ArchiveSettings
from evolve.oracles.archive_search import ArchiveSearch, Effort, OracleSetup
from evolve.oracles.core import BestResponseOracle


def shape(archive: ArchiveSettings, effort: Effort) -> ArchiveSettings:
    return archive


def create(setup: OracleSetup) -> BestResponseOracle:
    return ArchiveSearch(setup, setup.fleet)
