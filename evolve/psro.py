"""Policy-space response oracles over programs: CSRO, Algorithm 1, for two-player games.

The driver reads like the algorithm; all it knows is written to the store after every promotion, so a killed run goes on
where it was. Payoffs are kept by (program, opponent, seeds) and so are never played twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from evolve.archive.store import Record, Store
from evolve.empirical_game import EmpiricalGame, Profile
from evolve.meta_solvers import MetaSolver, MetaStrategy
from evolve.oracles.core import BestResponse, BestResponseOracle, BestResponseTask, Response
from evolve.policy_pool import PolicyPool, PooledPolicy
from evolve.program import Program
from evolve.scoring import Failed, OpponentReturn, Scorer, ScoringTask
from games.core import Game
from games.seeds import match_seed

CHECKPOINT = "psro"


@dataclass(frozen=True)
class PsroConfig:
    """``matches`` per opponent in the search, ``fresh_matches`` in the re-scoring, ``payoff_matches`` per pair.

    ``strict_payoffs``: each match behind an entry of the empirical game is played in processes of its own.
    """

    iterations: int
    matches: int
    fresh_matches: int
    payoff_matches: int
    seed: int
    strict_payoffs: bool = False


@dataclass(frozen=True)
class IterationRecord:
    """One line of the run's summary: what was answered, by what, at which price. Iterations count from 1.

    ``carried`` counts the programs of earlier searches among the founders of this one."""

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


class Observer(Protocol):
    """Told what happens, as it happens."""

    def search_started(self, task: BestResponseTask, record: IterationRecord) -> None: ...

    def search_ended(self, task: BestResponseTask, record: IterationRecord) -> None: ...


class Psro:
    """One run. ``stop_reason`` is asked before each search; any text ends the run there, with all that it has.

    ``offered`` is asked for programs (and whose they are) that the pools take in before the search of that number."""

    def __init__(
        self,
        game: Game,
        oracle: BestResponseOracle,
        scorer: Scorer,
        solver: MetaSolver,
        store: Store,
        config: PsroConfig,
        *,
        scoring: ScoringTask,
        observer: Observer,
        llm_calls: Callable[[], int],
        stop_reason: Callable[[], str | None],
        offered: Callable[[int], Sequence[tuple[int, Program]]] = lambda responses: (),
    ) -> None:
        if game.spec.num_players != 2:
            raise ValueError(f"{game.spec.name} has {game.spec.num_players} players; method csro needs two")
        self._game = game
        self._oracle = oracle
        self._scorer = scorer
        self._solver = solver
        self._store = store
        self._config = config
        self._scoring = scoring
        self._observer = observer
        self._llm_calls = llm_calls
        self._stop_reason = stop_reason
        self._offered = offered
        self.state = self._load() or self._initial()

    async def run(self) -> MetaStrategy:
        """Algorithm 1. Returns the meta-strategy over the final pools."""
        populations = len(self.state.pools)
        while self.state.responses < self._config.iterations * populations and self._stop_reason() is None:
            self._take_offers()
            await self._fill_payoffs()
            meta_strategy = self._solve()
            await self._respond(meta_strategy, player=self.state.responses % populations)
        await self._fill_payoffs()
        return self._solve()

    # -- the steps of an iteration ---------------------------------------------------------------------------------

    def _take_offers(self) -> None:
        """A search that has begun keeps the mixture it began with, whatever is offered meanwhile."""
        if self._store.load(self._mark) is not None:
            return
        for player, program in self._offered(self.state.responses):
            state, pools = self.state, list(self.state.pools)
            if player < len(pools) and program.id not in pools[player]:
                policy = PooledPolicy(program, state.responses // len(pools), f"offered-{len(pools[player])}")
                pools[player] = pools[player].with_policy(policy)
                self._save(replace(state, pools=tuple(pools), game=state.game.with_policy(program.id, player)))

    async def _fill_payoffs(self) -> None:
        """Plays the pairs that have no payoff yet: after a promotion, those of the new policy alone."""
        missing = self.state.game.missing()
        game = self.state.game
        for profile, payoffs in zip(missing, await asyncio.gather(*map(self._payoffs, missing)), strict=True):
            game = game.with_payoff(profile, *payoffs)
        self._save(replace(self.state, game=game))

    def _solve(self) -> MetaStrategy:
        meta_strategy = self._solver(self.state.game)
        entry = {
            "iteration": self.state.responses // len(self.state.pools),
            "meta_strategy": [dict(weights) for weights in meta_strategy.weights],
            "values": list(meta_strategy.values),
            **self.state.game.to_json(),
        }
        kept = [s for s in self.state.solved if s["iteration"] != entry["iteration"]]
        self._save(replace(self.state, solved=(*kept, entry)))
        return meta_strategy

    async def _respond(self, meta_strategy: MetaStrategy, player: int) -> None:
        started, calls = time.monotonic(), self._start_mark()
        task = self._task(meta_strategy, player)
        record = IterationRecord(
            self.state.responses // len(self.state.pools) + 1, player, dict(task.scoring.weights), None, 0, {}, 0, 0.0
        )
        self._observer.search_started(task, record)
        response = await self._oracle.respond(task)
        if response.best is None and response.programs == 0 and self._stop_reason() is not None:
            return  # not a single child was paid for: the run ends here, and a resume with more budget asks again
        record = replace(
            record,
            best_response=_best_response_json(response),
            programs_scored=response.programs,
            failures=dict(response.failures),
            llm_calls=self._llm_calls() - calls,
            wall_s=round(time.monotonic() - started, 3),
            rejected=tuple({"id": r.program_id, "fault": r.fault, "detail": r.detail} for r in response.rejected),
            carried=response.carried,
        )
        await self._promote(response.best, player, record)
        self._observer.search_ended(task, record)

    async def _promote(self, best: BestResponse | None, player: int, record: IterationRecord) -> None:
        """Takes the winner into its pool; one checkpoint holds the new pool, its payoffs' places and the record."""
        state = self.state
        if best is not None:
            pools, game = list(state.pools), state.game
            name = f"br-{record.iteration}" + (f"-p{player}" if len(pools) > 1 else "")
            pools[player] = pools[player].with_policy(PooledPolicy(best.candidate.program, record.iteration, name))
            state = replace(state, pools=tuple(pools), game=game.with_policy(best.candidate.program.id, player))
        state = replace(state, iterations=(*state.iterations, record), responses=state.responses + 1)
        self._save(state)

    def _task(self, meta_strategy: MetaStrategy, player: int) -> BestResponseTask:
        number = self.state.responses
        populations = self.state.pools
        other = populations[0] if len(populations) == 1 else populations[1 - player]
        weights = meta_strategy.support(0 if len(populations) == 1 else 1 - player)
        seed = match_seed(self._config.seed, "search", number)
        incumbents = [Program(self._game.brief.seed_program), *(policy.program for policy in populations[player])]
        return BestResponseTask(
            task_id=_task_id(number),
            scoring=replace(
                self._scoring,
                opponents={i: other[i].program for i in weights},
                weights=weights,
                matches_per_opponent=self._config.matches,
                seed=match_seed(seed, "matches"),
                player=player,
            ),
            incumbents=tuple(incumbents),
            taken=frozenset(populations[player].ids),
            seed=match_seed(seed, "proposals"),
            fresh_seed=match_seed(seed, "fresh"),
            fresh_matches_per_opponent=self._config.fresh_matches,
            earlier=tuple(_task_id(k) for k in range(player, number, len(populations))),
        )

    async def _payoffs(self, profile: Profile) -> list[OpponentReturn]:
        """Returns of one pair of policies: the first player's alone where it fixes the second's."""
        row, column = self._program(profile, 0), self._program(profile, 1)
        first = await self._payoff(row, column, player=0)
        if self._game.spec.utility != "general_sum":
            return [first]
        return [first, await self._payoff(column, row, player=1)]

    async def _payoff(self, program: Program, opponent: Program, player: int) -> OpponentReturn:
        pair = sorted((program.id, opponent.id))
        seed = match_seed(self._config.seed, "payoffs", *pair)
        block = f"{seed}:{self._config.payoff_matches}:{player}" + ":strict" * self._config.strict_payoffs
        known = self._store.payoffs.get(program.id, opponent.id, block)
        if known is not None:
            return known
        task = replace(
            self._scoring,
            opponents={opponent.id: opponent},
            weights={opponent.id: 1.0},
            matches_per_opponent=self._config.payoff_matches,
            seed=seed,
            player=player,
            audit_share=0.0,
            strict=self._config.strict_payoffs,
        )
        evaluation = await self._scorer.score(program, task)
        if isinstance(evaluation, Failed):
            # It was promoted against others, so here it plays on and loses all there is to lose.
            self._store.log(
                {"type": "forfeit", "program": program.id, "opponent": opponent.id, "fault": evaluation.fault}
            )
            payoff = OpponentReturn(self._game.spec.return_range[0], 0.0, task.matches_per_opponent)
        else:
            payoff = evaluation.by_opponent[opponent.id]
        self._store.payoffs.put(program.id, opponent.id, block, payoff)
        return payoff

    def _program(self, profile: Profile, player: int) -> Program:
        pool = self.state.pools[player if len(self.state.pools) > 1 else 0]
        return pool[profile[player]].program

    # -- state -----------------------------------------------------------------------------------------------------

    def _initial(self) -> PsroState:
        """The pool (or pools) with the game's seed program."""
        seed_program = Program(self._game.brief.seed_program)
        pool = PolicyPool((PooledPolicy(seed_program, 0, "seed"),))
        count = 1 if self._game.spec.symmetric else 2
        return PsroState((pool,) * count, EmpiricalGame.of(self._game.spec, [pool.ids] * count))

    def _load(self) -> PsroState | None:
        record = self._store.load(CHECKPOINT)
        return None if record is None else PsroState.from_record(record)

    def _save(self, state: PsroState) -> None:
        self.state = state
        self._store.save(CHECKPOINT, state.to_record())

    def _start_mark(self) -> int:
        """LLM calls spent before this search, remembered so that a resumed search counts its earlier calls too."""
        known = self._store.load(self._mark)
        if known is not None:
            return cast(int, known["llm_calls"])
        calls = self._llm_calls()
        self._store.save(self._mark, {"llm_calls": calls})
        return calls

    @property
    def _mark(self) -> str:
        """The checkpoint that says that the next search has begun."""
        return f"{CHECKPOINT}:calls:{self.state.responses}"


def _task_id(response: int) -> str:
    return f"br-{response:03d}"


def _best_response_json(response: Response) -> dict[str, object] | None:
    if response.best is None:
        return None
    fresh = response.best.fresh
    return {
        "id": response.best.candidate.program.id,
        "mean_return": fresh.mean_return,
        "stderr": fresh.stderr,
        "matches": fresh.matches,
    }
