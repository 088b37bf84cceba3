"""What a PSRO run knows: its configuration, the record of each iteration, and the checkpoint between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from evolve.archive.store import Record
from evolve.empirical_game import EmpiricalGame
from evolve.policy_pool import PolicyPool


@dataclass(frozen=True)
class PsroConfig:
    """``matches`` per opponent in the search, ``fresh_matches`` in the re-scoring, ``payoff_matches`` per profile.

    ``strict_payoffs``: each match behind an entry of the empirical game is played in processes of its own.
    ``top_up_matches`` per search are added to the entries on which the meta-strategy hangs.
    """

    iterations: int
    matches: int
    fresh_matches: int
    payoff_matches: int
    seed: int
    strict_payoffs: bool = False
    top_up_matches: int = 0


@dataclass(frozen=True)
class IterationRecord:
    """One line of the run's summary: what was answered, by what, at which price. Iterations count from 1.

    ``carried`` counts the programs of earlier searches among the founders of this one, ``search`` is what its archive
    counted (:meth:`evolve.archive.progress.Progress.to_json`)."""

    iteration: int
    player: int
    opponents: Mapping[str, float]
    best_response: Mapping[str, object] | None
    programs_scored: int
    failures: Mapping[str, int]
    llm_calls: int
    wall_s: float
    rejected: tuple[Mapping[str, str], ...] = ()
    carried: int = 0
    search: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        plain = {"opponents": dict(self.opponents), "failures": dict(self.failures)}
        return {**self.__dict__, **plain, "rejected": [dict(entry) for entry in self.rejected]}


@dataclass(frozen=True)
class PsroState:
    """Everything a run knows between two iterations.

    ``responses`` counts oracle calls, one per population and iteration; ``solved`` keeps the empirical game
    after each iteration with its meta-strategy (iteration 0: what the run started from).
    """

    pools: tuple[PolicyPool, ...]
    game: EmpiricalGame
    iterations: tuple[IterationRecord, ...] = ()
    responses: int = 0
    solved: tuple[Mapping[str, object], ...] = field(default=())

    def to_record(self) -> Record:
        return {
            "pools": [pool.to_record() for pool in self.pools],
            "game": self.game.to_record(),
            "iterations": [record.to_json() for record in self.iterations],
            "responses": self.responses,
            "solved": list(self.solved),
        }

    @classmethod
    def from_record(cls, record: Record) -> PsroState:
        values = cast(dict[str, Any], record)
        return cls(
            pools=tuple(PolicyPool.from_record(pool) for pool in values["pools"]),
            game=EmpiricalGame.from_record(values["game"]),
            iterations=tuple(IterationRecord(**entry) for entry in values["iterations"]),
            responses=values["responses"],
            solved=tuple(values["solved"]),
        )
