"""Baseline players by name. A module of this package that has ``policies(game) -> Mapping[str, PolicyFactory]`` adds
those it has for the game; adding a baseline is adding that file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

import evolve.baselines
from games.core import Game, PolicyFactory


def baseline_policies(game: Game) -> Mapping[str, PolicyFactory]:
    """Of all modules; empty for games that no baseline plays."""
    found: dict[str, PolicyFactory] = {}
    for info in pkgutil.iter_modules(evolve.baselines.__path__):
        module = importlib.import_module(f"evolve.baselines.{info.name}")
        if hasattr(module, "policies"):
            found |= module.policies(game)
    return found
