"""Oracles by name. One is a module of this package with two functions; adding one is adding that file.

* ``create(setup) -> BestResponseOracle``
* ``shape(archive, effort) -> ArchiveSettings``: the archive it works on.
* ``check(game)``, where it does not work on every game: raises ``ValueError``.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import evolve.oracles
from evolve.archive.core import ArchiveSettings
from evolve.oracles.archive_search import Effort, OracleSetup
from evolve.oracles.core import BestResponseOracle
from games.core import Game
from games.registry import near_matches


def oracle_kinds() -> list[str]:
    """Names of all oracles, sorted."""
    names = [info.name for info in pkgutil.iter_modules(evolve.oracles.__path__)]
    return sorted(name for name in names if hasattr(_import(name), "create"))


def make_oracle(kind: str, setup: OracleSetup) -> BestResponseOracle:
    """Raises ``ValueError`` with near matches for an unknown kind."""
    oracle: BestResponseOracle = _module(kind).create(setup)
    return oracle


def archive_shape(kind: str, archive: ArchiveSettings, effort: Effort) -> ArchiveSettings:
    """The settings of the archives that oracle ``kind`` works on. Raises as :func:`make_oracle`."""
    shaped: ArchiveSettings = _module(kind).shape(archive, effort)
    return shaped


def check_oracle(kind: str, game: Game) -> None:
    """Raises ``ValueError``, in words, if oracle ``kind`` cannot work on the game, or as :func:`make_oracle`."""
    check = getattr(_module(kind), "check", None)
    if check is not None:
        check(game)


def _module(kind: str) -> ModuleType:
    kinds = oracle_kinds()
    if kind not in kinds:
        raise ValueError(f"no oracle named {kind!r}{near_matches(kind, kinds)}")
    return _import(kind)


def _import(name: str) -> ModuleType:
    return importlib.import_module(f"evolve.oracles.{name}")
