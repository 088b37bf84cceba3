"""Method ``csro``: policy-space response oracles, and the final mixture against the reference population."""

from __future__ import annotations

from typing import Any

from evolve.meta_solvers import MetaStrategy, meta_solver
from evolve.psro import Psro, PsroConfig
from evolve.scoring import ScoringTask
from games.seeds import match_seed
from workers.evaluation import PopulationResult, measure, nash_conv
from workers.methods.core import Findings, MethodSetup
from workers.pool import PoolScorer
from workers.scorer import Player


class CsroMethod:
    """See :class:`workers.methods.core.Method`."""

    def __init__(self, setup: MethodSetup) -> None:
        experiment = setup.experiment
        self._setup = setup
        self._meta_strategy: MetaStrategy | None = None
        self._psro = Psro(
            setup.game,
            setup.oracle,
            PoolScorer(setup.pool),
            meta_solver(experiment.psro.meta_solver),
            setup.store,
            PsroConfig(
                iterations=experiment.psro.iterations,
                matches=experiment.oracle.matches,
                fresh_matches=experiment.oracle.fresh_matches,
                payoff_matches=experiment.psro.payoff_matches,
                seed=experiment.seed,
                strict_payoffs=experiment.psro.strict_payoffs,
                top_up_matches=experiment.psro.top_up_matches,
            ),
            scoring=ScoringTask(
                {},
                {},
                matches_per_opponent=1,
                seed=0,
                audit_share=experiment.oracle.audit_share,
            ),
            observer=setup.observer,
            llm_calls=setup.llm_calls,
            stop_reason=setup.stop_reason,
            offered=setup.offered,
        )

    @property
    def iterations(self) -> int:
        return self._setup.experiment.psro.iterations

    @property
    def complete(self) -> bool:
        state = self._psro.state
        return state.responses >= self.iterations * len(state.pools)

    async def search(self) -> None:
        self._meta_strategy = await self._psro.run()

    async def findings(self) -> Findings:
        assert self._meta_strategy is not None, "search() comes first"
        state, metrics = self._psro.state, await self._evaluate(self._meta_strategy)
        conv = await self._nash_conv(self._meta_strategy)
        return Findings(
            tuple(record.to_json() for record in state.iterations),
            {
                **_final(self._meta_strategy, metrics, len(state.pools)),
                **({} if conv is None else {"nash_conv": conv}),
                "payoff_matches": self._psro.payoff_matches,
                "top_up_matches": self._psro.top_up_matches,
            },
            state.pools,
            {"iterations": list(state.solved)},
        )

    async def _evaluate(self, meta_strategy: MetaStrategy) -> tuple[PopulationResult, ...]:
        """Metrics of each player's mixture; empty for games without a reference population."""
        setup = self._setup
        if not setup.game.reference_population():
            return ()
        metrics = []
        for player, pool in enumerate(self._psro.state.pools):
            weights = meta_strategy.support(player)
            members: dict[str, Player] = {i: pool[i].program for i in weights}
            result = await measure(
                setup.pool,
                setup.game,
                members,
                weights,
                setup.experiment.evaluation.matches,
                match_seed(setup.experiment.seed, "evaluation"),
                lambda done, total: setup.telemetry.live(f"evaluating the mixture: {done}/{total} pairs"),
                player,
            )
            for fault in result.faults[:1]:
                setup.telemetry.warn(
                    f"a policy of the mixture failed in {len(result.faults)} matches: {fault.detail}"
                )
            metrics.append(result)
        return tuple(metrics)


    async def _nash_conv(self, meta_strategy: MetaStrategy) -> float | None:
        """Of the mixtures in the whole game, where it is small; ``exploitability_in_pool`` knows the pool only."""
        pools, players = self._psro.state.pools, self._setup.game.spec.num_players
        profile = []
        for seat in range(players):
            pool, weights = pools[seat if len(pools) > 1 else 0], meta_strategy.support(seat)
            members: dict[str, Player] = {i: pool[i].program for i in weights}
            profile.append((members, weights))
        return await nash_conv(self._setup.pool, self._setup.game, profile)


def _final(meta_strategy: MetaStrategy, metrics: tuple[PopulationResult, ...], populations: int) -> dict[str, Any]:
    """Of the first player's mixture; where there are more populations, the second's is under ``opponent``, and all of
    them are under ``players`` if there are more than two."""
    players = []
    for player in range(populations):
        entry: dict[str, Any] = {"meta_strategy": meta_strategy.support(player)}
        if metrics:
            entry |= metrics[player].to_json()
        players.append(entry)
    return {
        **players[0],
        "value": meta_strategy.value,
        "exploitability_in_pool": meta_strategy.exploitability,
        **({"opponent": players[1]} if len(players) > 1 else {}),
        **({"players": players} if len(players) > 2 else {}),
    }
