"""Rules of play: what a game, an episode and a policy are.

A game knows nothing of LLMs, Redis or Ray. Everything here is trusted code; programs written by a
model reach it only through :mod:`sandbox.referee`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ActionArray = NDArray[np.uint8]
Observation = Mapping[str, object]
"""What one player sees: string keys, values that msgpack can carry (numbers, strings, lists, maps)."""

Move = int | Sequence[float]
"""An action, or a distribution over all ``num_actions`` actions (an int is a point mass)."""

Utility = Literal["zero_sum", "common_payoff", "general_sum"]
ObservationForm = Literal["action_history", "mapping"]


@dataclass(frozen=True)
class GameSpec:
    """What is fixed about a game before anyone plays it.

    ``return_range`` bounds one player's return over a whole match. ``symmetric`` means that both seats
    share one strategy set and one utility, so that PSRO keeps one population and swaps seats.
    ``observation_form`` is ``action_history`` for two-player simultaneous-move games whose only
    information is the joint actions so far (the sandbox then sends two bytes a move), else ``mapping``.
    ``limits`` overrides fields of :class:`sandbox.limits.Limits` by name; ``lockstep`` is the number of
    matches stepped together in one sandbox process, tuned by measurement. It is a constant although slow programs would
    be faster with fewer: some limits are those of a process, and what a clock decides must not decide who fails.
    """

    name: str
    num_players: int
    num_actions: int
    symmetric: bool
    utility: Utility
    return_range: tuple[float, float]
    observation_form: ObservationForm = "mapping"
    limits: Mapping[str, float] = field(default_factory=dict)
    lockstep: int = 32

    @property
    def swaps_seats(self) -> bool:
        """Does one policy play both seats in turn? With more players than two each seat has policies of its own."""
        return self.symmetric and self.num_players == 2


@dataclass(frozen=True)
class GameBrief:
    """What a prompt needs to tell an author of policies.

    ``smoke_observations`` are legal observations for player 0, in the order of a short match; a new
    program must answer each with a legal move before it is scored.
    """

    rules: str
    policy_api: str
    seed_program: str
    smoke_observations: tuple[Observation, ...]


class Policy(Protocol):
    """A player of one match: stateful within it, rebuilt for the next."""

    def act(self, observation: Observation) -> Move: ...


PolicyFactory = Callable[[int, int], Policy]
"""``(player, seed) -> Policy``: the same two arguments that a policy program's class receives."""


class Episode(Protocol):
    """One match in progress. The referee alone owns it."""

    def pending(self) -> Mapping[int, Observation]:
        """Who must act now, and what each sees; empty when the match is over."""
        ...

    def step(self, actions: Mapping[int, int]) -> None:
        """Plays the pending players' actions. Raises ``ValueError`` on an illegal one."""
        ...

    def returns(self) -> FloatArray:
        """Return of each player so far, shape ``(num_players,)``."""
        ...


@runtime_checkable
class Game(Protocol):
    """Rules, a brief for authors, and the population that policies are measured against."""

    @property
    def spec(self) -> GameSpec: ...

    @property
    def brief(self) -> GameBrief: ...

    def new_episode(self, rng: np.random.Generator) -> Episode: ...

    def reference_population(self) -> Mapping[str, PolicyFactory]: ...


@runtime_checkable
class ActionHistoryGame(Game, Protocol):
    """A two-player simultaneous game of a fixed number of rounds, decided by its joint actions.

    Each player's observation is the map of :class:`ActionHistory`. The two extra members let the
    referee keep N matches as one array and score them at once.
    """

    @property
    def num_rounds(self) -> int: ...

    def returns_from_actions(self, actions: ActionArray) -> FloatArray:
        """Returns of shape ``(N, 2)`` from joint actions of shape ``(N, T, 2)``: what the first T rounds bring, T being
        at most ``num_rounds``."""
        ...


@runtime_checkable
class SourceGame(Game, Protocol):
    """A game whose players see each other's program text; see :func:`games.match.with_program_sources`."""

    def with_sources(self, sources: Sequence[str]) -> Game:
        """The same game between programs with these texts, by seat; "" for a player that has none."""
        ...


@runtime_checkable
class FeaturedGame(Game, Protocol):
    """A game that tells learners how to read its observations."""

    @staticmethod
    def features(observation: Observation, num_actions: int) -> list[float]:
        """The observation as numbers, always as many. Self-contained: its text goes into programs, so it uses no name
        but Python's own."""
        ...


@runtime_checkable
class BoundedWelfareGame(Game, Protocol):
    """A game that knows how well its players can do together."""

    def best_welfare(self, rng: np.random.Generator) -> float | None:
        """The highest social welfare (sum of returns) that the episode of ``rng`` allows to players who plan together;
        ``None`` where it is not computed."""
        ...


class ActionHistory:
    """One player's view of a repeated simultaneous game, grown in place round by round.

    ``observation`` holds ``round`` (0-based), ``num_rounds``, and the lists ``my_actions`` and
    ``opponent_actions``, oldest first. The lists are live: they grow between calls.
    """

    __slots__ = ("mine", "observation", "theirs")

    def __init__(self, num_rounds: int) -> None:
        self.mine: list[int] = []
        self.theirs: list[int] = []
        self.observation: dict[str, object] = {
            "round": 0,
            "num_rounds": num_rounds,
            "my_actions": self.mine,
            "opponent_actions": self.theirs,
        }

    def extend(self, mine: int, theirs: int) -> None:
        self.mine.append(mine)
        self.theirs.append(theirs)
        self.observation["round"] = len(self.mine)
