"""One match's own copy of a program: its module, its code objects, its ``random`` and ``numpy.random``.

N matches share a process. Each gets its own copy so that they cannot disturb each other by accident (module
globals, the global random generators), which makes N = 1 and N = 64 play the same moves. That is hygiene, not
a boundary: a program that wants its matches to talk can make them, and :mod:`sandbox.audit` is for those.
"""

from __future__ import annotations

import builtins
import difflib
import marshal
import random
import re
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from games.foraging_helpers import HELPERS
from sandbox.program_errors import POLICY_FILE
from sandbox.sharing import keeps_state_in_instances

_REAL_IMPORT = builtins.__import__
_RANDOM_FUNCTIONS = tuple(n for n in random.__all__ if hasattr(random.Random, n) and n[0].islower())
_NUMPY_RANDOM_FUNCTIONS = frozenset(
    n for n in np.random.__all__ if hasattr(np.random.RandomState, n) and n[0].islower()
)


def _stand_in(original: types.ModuleType) -> types.ModuleType:
    module = types.ModuleType(original.__name__)
    module.__dict__.update(original.__dict__)
    return module


def private_random(seed: int) -> types.ModuleType:
    """The module ``random`` with its own hidden generator; unseeded ``Random()`` is seeded too."""

    class Random(random.Random):
        def __init__(self, x: Any = None) -> None:
            super().__init__(seed if x is None else x)

    module = _stand_in(random)
    hidden = Random()
    module.__dict__.update({name: getattr(hidden, name) for name in _RANDOM_FUNCTIONS})
    module.__dict__.update({"Random": Random, "_inst": hidden})
    return module


def private_numpy(seed: int) -> types.ModuleType:
    """The module ``numpy`` whose ``random`` has its own hidden generator, made when first used."""
    numpy_random = _stand_in(np.random)
    for name in _NUMPY_RANDOM_FUNCTIONS:
        numpy_random.__dict__.pop(name, None)

    def resolve(name: str) -> Any:
        if name not in _NUMPY_RANDOM_FUNCTIONS:
            raise AttributeError(f"module 'numpy.random' has no attribute {name!r}")
        hidden = np.random.RandomState(seed)
        numpy_random.__dict__.update({known: getattr(hidden, known) for known in _NUMPY_RANDOM_FUNCTIONS})
        return numpy_random.__dict__[name]

    def default_rng(seed_: Any = None) -> np.random.Generator:
        return np.random.default_rng(seed if seed_ is None else seed_)

    def random_state(seed_: Any = None) -> np.random.RandomState:
        return np.random.RandomState(seed if seed_ is None else seed_)

    numpy_random.__dict__.update({"__getattr__": resolve, "default_rng": default_rng, "RandomState": random_state})
    module = _stand_in(np)
    module.__dict__["random"] = numpy_random
    return module


def _importer(seed: int) -> Callable[..., Any]:
    """An ``__import__`` that hands out this match's stand-ins."""
    made: dict[str, types.ModuleType] = {}

    def private_import(name: str, globals_: Any = None, locals_: Any = None, names: Any = (), level: int = 0) -> Any:
        if level == 0 and name == "random":
            if name not in made:
                made[name] = private_random(seed)
            return made[name]
        if level == 0 and (name == "numpy" or name.startswith("numpy.")):
            if "numpy" not in made:
                made["numpy"] = private_numpy(seed)
            if name == "numpy" or not names:
                _import(name, globals_, locals_, (), 0)
                return made["numpy"]
            if name == "numpy.random":
                return made["numpy"].random
        return _import(name, globals_, locals_, names, level)

    return private_import


def _import(name: str, globals_: Any, locals_: Any, names: Any, level: int) -> Any:
    try:
        return _REAL_IMPORT(name, globals_, locals_, names, level)
    except ModuleNotFoundError as error:
        near = difflib.get_close_matches(name, [known for known in sys.modules if "." not in known], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        message = f"no module {error.name!r} in the sandbox (the standard library's pure parts and numpy are){hint}"
        raise ModuleNotFoundError(message, name=error.name) from None


def compile_policy(source: str) -> bytes:
    """Code of the whole program, to be copied for each match: shared code objects would thrash inline caches."""
    return marshal.dumps(compile(source, POLICY_FILE, "exec", dont_inherit=True))


class ProgramCopies:
    """Makes one player a match, each from its own copy of the program, or all from one where that is safe."""

    def __init__(self, source: str, count: int, names: Mapping[str, Any]) -> None:
        """For ``count`` matches; ``names`` are added to the built-in ones. Raises whatever the compiler does."""
        self._code = compile_policy(source)
        self._names = names
        try:
            self._shared = count > 1 and keeps_state_in_instances(source)  # one match needs one copy either way
        except (RecursionError, MemoryError):
            self._shared = False
        self._namespace: dict[str, Any] | None = None

    def player(self, player: int, seed: int) -> Callable[[Any], Any]:
        """What answers one match's observations. Raises whatever the program does."""
        if not self._shared:
            return new_player(run_module(self._code, seed, self._names), player, seed)
        if self._namespace is None:
            self._namespace = run_module(self._code, 0, self._names)  # no seed is used: the analysis has seen to that
        return new_player(self._namespace, player, seed)


def run_module(code: bytes, seed: int, names: Mapping[str, Any]) -> dict[str, Any]:
    """A fresh copy of the program's module, with private random generators; returns its names."""
    module = types.ModuleType("policy")
    sys.modules["policy"] = module  # dataclasses and typing look the defining module up by name
    namespace = module.__dict__
    namespace["__builtins__"] = {**vars(builtins), **HELPERS, **names, "__import__": _importer(seed)}
    exec(marshal.loads(code), namespace)
    return namespace


def new_player(namespace: dict[str, Any], player: int, seed: int) -> Callable[[Any], Any]:
    """What the module defines as a policy, ready for one match."""
    if "Policy" in namespace:
        act: Callable[[Any], Any] = namespace["Policy"](player, seed).act
        return act
    for name in ("policy", f"history_dependent_policy_{player}"):  # the second as the PIBR paper's listings spell it
        if name in namespace:
            function: Callable[[Any], Any] = namespace[name]
            return function
    defined = [name for name in namespace if not name.startswith("__")]
    if others := [name for name in defined if re.fullmatch(r"history_dependent_policy_\d+", name)]:
        raise NameError(f"the program defines {', '.join(others)} and sits in seat {player}")
    near = difflib.get_close_matches("Policy", defined, n=1, cutoff=0.5)
    raise NameError(
        "the program must define class Policy(player, seed) with act(observation), or function policy(observation)"
        + (f"; it defines {near[0]!r}" if near else "")
    )
