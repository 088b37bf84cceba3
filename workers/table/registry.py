"""Tables by name. One is a module of this package with a function ``table() -> Table``; adding one is adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import workers.table
from games.registry import near_matches
from workers.errors import UsageError
from workers.table.core import Table


def table_names() -> list[str]:
    """Names of all tables, sorted."""
    names = [info.name for info in pkgutil.iter_modules(workers.table.__path__)]
    return sorted(name for name in names if hasattr(_module(name), "table"))


def make_table(name: str) -> Table:
    """Raises :class:`UsageError` with near matches for an unknown name."""
    names = table_names()
    if name not in names:
        raise UsageError(f"no table named {name!r}{near_matches(name, names)}")
    table: Table = _module(name).table()
    return table


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"workers.table.{name}")
