"""Policy-space response oracles over programs: CSRO, Algorithm 1.

One population where two seats are swapped from match to match (symmetric two-player games), else one per player.
The driver reads like the algorithm; all it knows is written to the store after every promotion, so a killed run goes on
where it was. Payoffs are kept by (program, opponent, seeds) and so are never played twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Protocol, cast

from evolve.archive.store import Store
from evolve.empirical_game import EmpiricalGame
from evolve.meta_solvers import MetaSolver, MetaStrategy
from evolve.oracles.core import BestResponse, BestResponseOracle, BestResponseTask
from evolve.payoffs import ProfilePayoffs, extra_matches
from evolve.policy_pool import PolicyPool, PooledPolicy
from evolve.program import Program
from evolve.psro_state import IterationRecord, PsroConfig, PsroState
from evolve.scoring import LINEUP, Scorer, ScoringTask
from games.core import Game
from games.seeds import match_seed

__all__ = ["CHECKPOINT", "IterationRecord", "Observer", "Psro", "PsroConfig", "PsroState"]

CHECKPOINT = "psro"
_MAX_LINEUPS = 64  # of other players in one search: each costs its matches per child


class Observer(Protocol):
    """Told what happens, as it happens."""

    def search_started(self, task: BestResponseTask, record: IterationRecord) -> None: ...

    def search_ended(self, task: BestResponseTask, record: IterationRecord) -> None:
        """Called before the checkpoint, so that nothing it leaves is lost; after a kill between the two, again."""
        ...


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
        self._game = game
        self._oracle = oracle
        self._solver = solver
        self._store = store
        self._config = config
        self._scoring = scoring
        self._observer = observer
        self._llm_calls = llm_calls
        self._stop_reason = stop_reason
        self._offered = offered
        self._payoffs = ProfilePayoffs(game, scorer, store, scoring, config)
        self.state = self._load() or self._initial()

    async def run(self) -> MetaStrategy:
        """Algorithm 1. Returns the meta-strategy over the final pools."""
        populations = len(self.state.pools)
        while self.state.responses < self._config.iterations * populations and self._stop_reason() is None:
            self._take_offers()
            meta_strategy = await self._empirical_equilibrium()
            await self._respond(meta_strategy, player=self.state.responses % populations)
        return await self._empirical_equilibrium()

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

    async def _empirical_equilibrium(self) -> MetaStrategy:
        """Fills the empirical game and solves it; adds matches where they may change the solution, and solves again."""
        self._save(replace(self.state, game=await self._payoffs.filled(self.state.game, self.state.pools)))
        meta_strategy = self._solve()
        while True:
            state = self.state
            game = await self._payoffs.topped_up(state.game, state.pools, meta_strategy, state.responses + 1)
            if game is state.game:
                return meta_strategy
            self._save(replace(state, game=game))
            meta_strategy = self._solve()

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
            best_response=response.best.to_json() if response.best else None,
            programs_scored=response.programs,
            failures=dict(response.failures),
            llm_calls=self._llm_calls() - calls,
            wall_s=round(time.monotonic() - started, 3),
            rejected=tuple({"id": r.program_id, "fault": r.fault, "detail": r.detail} for r in response.rejected),
            carried=response.carried,
            search=response.search,
        )
        self._observer.search_ended(task, record)
        self._promote(response.best, player, record)

    def _promote(self, best: BestResponse | None, player: int, record: IterationRecord) -> None:
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
        number, populations = self.state.responses, self.state.pools
        weights = _lineups(meta_strategy, player, self._game.spec.num_players)
        known = {policy.id: policy.program for pool in populations for policy in pool}
        seed = match_seed(self._config.seed, "search", number)
        incumbents = [Program(self._game.brief.seed_program), *(policy.program for policy in populations[player])]
        return BestResponseTask(
            task_id=_task_id(number),
            scoring=replace(
                self._scoring,
                opponents={i: known[i] for key in weights for i in key.split(LINEUP)},
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

    @property
    def payoff_matches(self) -> int:
        """Matches behind the empirical game, top-ups included."""
        return sum(self.state.game.payoff(profile).matches for profile in self.state.game.played())

    @property
    def top_up_matches(self) -> int:
        """Those of them that were added where noise could change the meta-strategy."""
        return extra_matches(self.state.game, self._config.payoff_matches)

    # -- state -----------------------------------------------------------------------------------------------------

    def _initial(self) -> PsroState:
        """The pool (or one per player) with the game's seed program."""
        seed_program = Program(self._game.brief.seed_program)
        pool = PolicyPool((PooledPolicy(seed_program, 0, "seed"),))
        count = 1 if self._game.spec.swaps_seats else self._game.spec.num_players
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


def _lineups(meta_strategy: MetaStrategy, player: int, num_players: int) -> dict[str, float]:
    """The others' product mixture over line-ups, heaviest first; with two players, the other one's mixture.

    Beyond 64 line-ups the lightest are left out, and the others' weights fill the place."""
    supports = [meta_strategy.support(seat) for seat in range(num_players) if seat != player]
    lineups = {
        LINEUP.join(ids): math.prod(support[i] for support, i in zip(supports, ids, strict=True))
        for ids in product(*supports)
    }
    kept = dict(sorted(lineups.items(), key=lambda item: -item[1])[:_MAX_LINEUPS])
    total = sum(kept.values()) if len(kept) < len(lineups) else 1.0
    return {key: weight / total for key, weight in kept.items()}


def _task_id(response: int) -> str:
    return f"br-{response:03d}"
