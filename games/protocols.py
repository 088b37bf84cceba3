"""Which optional protocols a game implements, asked often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard, TypeVar, cast

T = TypeVar("T")

_known: dict[tuple[type, Any], bool] = {}


def implements(game: object, protocol: Callable[..., T]) -> TypeGuard[T]:
    """``isinstance`` for a protocol, found out once for each class.

    Python's own answer looks at every member each time, and so computes each property, a game's whole brief too.
    """
    key = type(game), protocol
    if (known := _known.get(key)) is None:
        known = _known[key] = isinstance(game, cast(type, protocol))
    return known
