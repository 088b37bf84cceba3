"""The 43 RoShamBo bots that ship with OpenSpiel, as policies of repeated rock-paper-scissors.

Two properties of the bots decide the shape of this module:

* ``num_throws`` sizes buffers of the bot that nothing checks: one throw too many corrupts the heap without an
  exception, and greenberg writes 1000 entries whatever it was told. A policy here is bound to one
  ``num_rounds``, refuses to act beyond it, and never has a buffer of less than 1000.
* All bots draw from libc's ``random()``, which OpenSpiel never seeds. Each policy owns a state array of that
  generator and swaps it in around everything the bot does, so that a match is a function of its seeds
  and any number of matches may be interleaved in one process.

The swap uses ``initstate`` and ``setstate`` (POSIX; glibc, musl, macOS). Where libc lacks them the bots share
one stream: each match is still a correct match, but its seed no longer determines it, and a warning says so.
"""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, TypeVar

from games.core import Observation, PolicyFactory

COMPETITION_ROUNDS = 1000
_STATE_BYTES = 128  # the size of libc's own default array
_SEEDS = 2**32 - 1
T = TypeVar("T")
_swap_lock = threading.Lock()  # the current array is one per process


class _LibcRandom:
    """libc's ``initstate`` and ``setstate``."""

    def __init__(self, libc: ctypes.PyDLL) -> None:
        self.initstate = libc.initstate
        self.initstate.argtypes = [ctypes.c_uint, ctypes.c_void_p, ctypes.c_size_t]
        self.initstate.restype = ctypes.c_void_p
        self.setstate = libc.setstate
        self.setstate.argtypes = [ctypes.c_void_p]
        self.setstate.restype = ctypes.c_void_p


@cache
def _libc_random() -> _LibcRandom | None:
    try:
        return _LibcRandom(ctypes.PyDLL(None))
    except (OSError, AttributeError, TypeError):
        warnings.warn("this libc has no initstate/setstate: RoShamBo bots are not reproducible", stacklevel=3)
        return None


class RandomStream:
    """A private stream of libc's ``random()``."""

    def __init__(self, seed: int) -> None:
        self._libc = _libc_random()
        self._state = ctypes.create_string_buffer(_STATE_BYTES)
        self._address = ctypes.addressof(self._state)
        if self._libc is not None:
            with _swap_lock:
                # libc reads seed 0 as seed 1, so seeds start at 1 here.
                previous = self._libc.initstate(seed % _SEEDS + 1, self._address, _STATE_BYTES)
                self._libc.setstate(previous)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """``function(*arguments)`` with this stream as the one that ``random()`` draws from."""
        if self._libc is None:
            return function(*arguments)
        with _swap_lock:
            previous = self._libc.setstate(self._address)
            try:
                return function(*arguments)
            finally:
                self._libc.setstate(previous)


class RoshamboPolicy:
    """One bot in one match of ``num_rounds`` rounds. Its factory can be pickled, the policy cannot."""

    def __init__(self, name: str, num_rounds: int, player: int, seed: int) -> None:
        import pyspiel

        self._num_rounds = num_rounds
        self._player = player
        self._stream = RandomStream(seed)
        game = f"repeated_game(stage_game=matrix_rps(),num_repetitions={num_rounds})"
        self._state = pyspiel.load_game(game).new_initial_state()
        throws = max(num_rounds, COMPETITION_ROUNDS)
        self._bot: Any = self._stream.call(pyspiel.make_roshambo_bot, player, name, throws)
        self._round = 0

    def act(self, observation: Observation) -> int:
        """The bot's next throw. Raises ``ValueError`` unless called once a round in a match of its own length."""
        asked, length = observation["round"], observation["num_rounds"]
        if length != self._num_rounds:
            raise ValueError(f"this bot was made for matches of {self._num_rounds} rounds, not {length}")
        if asked != self._round or self._round >= self._num_rounds:
            raise ValueError(f"this bot is at round {self._round} of {self._num_rounds}, not at round {asked}")
        if self._round:
            self._observe(observation)
        self._round += 1
        return int(self._stream.call(self._bot.step, self._state))

    def _observe(self, observation: Observation) -> None:
        """Adds the last joint action to the state that the bot reads."""
        mine: list[int] = observation["my_actions"]  # type: ignore[assignment]
        theirs: list[int] = observation["opponent_actions"]  # type: ignore[assignment]
        last = [mine[-1], theirs[-1]]
        self._state.apply_actions(last if self._player == 0 else last[::-1])


def roshambo_population(num_rounds: int) -> Mapping[str, PolicyFactory]:
    """``{name: (player, seed) -> policy}`` for matches of ``num_rounds`` rounds, in OpenSpiel's order."""
    import pyspiel

    return {name: partial(RoshamboPolicy, name, num_rounds) for name in pyspiel.roshambo_bot_names()}
