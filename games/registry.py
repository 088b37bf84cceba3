"""Games by name. Each module of this package may declare

* ``GAMES``: game name to a callable that makes the game from keyword parameters;
* ``GAME_FAMILIES``: prefix to a callable that makes the game ``prefix:NAME`` from ``NAME`` and keyword parameters;
* ``ALIASES``: short name to registered name.

A new game is one new module. Modules of this package import the libraries that single games stand on where
they use them, never at their top, so that listing and importing games stays light.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

import games
from games.core import Game

GameFactory = Callable[..., Game]


class GameError(ValueError):
    """No such game, or no such parameter of it. The message is one line that names near matches."""


@dataclass(frozen=True)
class _Catalogue:
    factories: dict[str, GameFactory] = field(default_factory=dict)
    families: dict[str, GameFactory] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)


@cache
def _catalogue() -> _Catalogue:
    found = _Catalogue()
    for info in pkgutil.iter_modules(games.__path__, "games."):
        if info.name == __name__:
            continue
        module = importlib.import_module(info.name)
        for table, attribute in ((found.factories, "GAMES"), (found.families, "GAME_FAMILIES")):
            declared: Mapping[str, GameFactory] = getattr(module, attribute, {})
            for name, factory in declared.items():
                if name in table:
                    raise RuntimeError(f"two modules declare the game {name!r}; one is {info.name}")
                table[name] = factory
        found.aliases.update(getattr(module, "ALIASES", {}))
    return found


def game_names() -> tuple[str, ...]:
    """Registered names, sorted. Games of a family (``openspiel:NAME``) are not listed."""
    return tuple(sorted(_catalogue().factories))


def family_names() -> tuple[str, ...]:
    """Prefixes of game families, sorted: ``openspiel`` for ``openspiel:kuhn_poker``."""
    return tuple(sorted(_catalogue().families))


def near_matches(name: str, known: Iterable[str]) -> str:
    """``"; did you mean a, b?"`` for the closest of ``known``, else ``"; there are a, b, c"``."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(close)}?" if close else f"; there are {', '.join(names)}"


def make_game(name: str, **parameters: object) -> Game:
    """The game ``name``, with ``parameters`` over its defaults.

    Raises :class:`GameError` for an unknown name or parameter, ``ValueError`` for a parameter's bad value.
    """
    catalogue = _catalogue()
    full = catalogue.aliases.get(name, name)
    prefix, colon, rest = full.partition(":")
    if colon and prefix in catalogue.families:
        return catalogue.families[prefix](rest, **parameters)
    factory = catalogue.factories.get(full)
    if factory is None:
        families = [f"{family}:NAME" for family in catalogue.families]
        known = [*catalogue.factories, *catalogue.aliases, *families]
        raise GameError(f"no game named {name!r}{near_matches(name, known)}")
    known_parameters = inspect.signature(factory).parameters
    for parameter in parameters:
        if parameter not in known_parameters:
            hint = near_matches(parameter, known_parameters) if known_parameters else "; it has none"
            raise GameError(f"{name} has no parameter {parameter!r}{hint}")
    return factory(**parameters)
