"""Method ``pibr``: programmatic iterated best response, and the returned profile's welfare on fresh seeds."""

from __future__ import annotations

from typing import Any

import numpy as np

from evolve.baselines.best_response_dynamics import reached_from
from evolve.pibr import Pibr
from evolve.pibr_profile import one_shot
from evolve.pibr_state import PibrConfig, PibrState, ProfileRecord, best_of
from evolve.scoring import ScoringTask
from games.seeds import match_seed
from workers.methods.core import Findings, MethodSetup
from workers.profiles import PoolProfilePlayer


class PibrMethod:
    """See :class:`workers.methods.core.Method`. An iteration is one best response."""

    def __init__(self, setup: MethodSetup) -> None:
        experiment = setup.experiment
        self._setup = setup
        self._pibr = Pibr(
            setup.game,
            setup.oracle,
            PoolProfilePlayer(setup.pool),
            setup.store,
            PibrConfig(
                iterations=experiment.pibr.iterations,
                starts=experiment.pibr.starts,
                order=experiment.pibr.order,
                initial=experiment.pibr.initial,
                matches=experiment.oracle.matches,
                fresh_matches=experiment.oracle.fresh_matches,
                welfare_matches=experiment.pibr.welfare_matches,
                seed=experiment.seed,
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
        )

    @property
    def iterations(self) -> int:
        return self._pibr.responses_wanted

    @property
    def complete(self) -> bool:
        return self._pibr.state.responses >= self.iterations

    async def search(self) -> None:
        await self._pibr.run()

    async def findings(self) -> Findings:
        state = self._pibr.state
        return Findings(
            tuple(record.to_json() for record in state.iterations),
            await self._final(state),
            state.pools,
            {"iterations": [], "profiles": [record.to_json() for record in state.history]},
        )

    async def _final(self, state: PibrState) -> dict[str, Any]:
        """The returned profile, its welfare on seeds that no profile was chosen by, and what each start reached."""
        best = state.best()
        final: dict[str, Any] = {"profile": None, "social_welfare": None}
        if best is not None:
            experiment = self._setup.experiment
            seed = match_seed(experiment.seed, "evaluation")
            welfare = await self._pibr.welfare(best.profile, seed, experiment.evaluation.matches)
            details = {key: value for key, value in welfare.details.items() if value is not None}
            final = {
                "profile": {str(seat): program_id for seat, program_id in enumerate(best.profile)},
                "start": best.start,
                "step": best.step,
                "exact": welfare.exact,
                "matches": welfare.matches,
                "social_welfare": welfare.mean,
                "social_welfare_stderr": welfare.stderr,
                "returns": list(welfare.returns),
                "failed_matches": dict(welfare.failures),
                **details,
            }
        return {**final, **self._robustness(state)}

    def _robustness(self, state: PibrState) -> dict[str, Any]:
        """What each start reached, by the evaluation that chose among its profiles, and the spread over the starts."""
        starts = [self._start(state, number) for number in range(len(state.profiles))]
        ran = sorted((s for s in starts if s["social_welfare"] is not None), key=lambda s: float(s["social_welfare"]))
        reached = [start["social_welfare"] for start in ran]
        spread: dict[str, Any] = {}
        if len(starts) > 1 and reached:
            error = float(np.std(reached, ddof=1)) / len(reached) ** 0.5 if len(reached) > 1 else None
            spread = {
                "over_starts": float(np.mean(reached)),
                "over_starts_stderr": error,
                "worst_start": reached[0],
                "worst_start_stderr": ran[0]["stderr"],
                "best_start": reached[-1],
                "best_start_stderr": ran[-1]["stderr"],
            }
        return {**spread, "starts": starts}

    def _start(self, state: PibrState, number: int) -> dict[str, Any]:
        history = [record for record in state.history if record.start == number]
        first = next(record for record in history if record.step == 0)
        best = best_of([record for record in history if record.step > 0])
        return {
            "start": number,
            "initial": self._docstrings(state, first),
            "exact": first.welfare.exact,
            "initial_welfare": first.welfare.mean,
            "initial_stderr": first.welfare.stderr,
            "social_welfare": best.welfare.mean if best else None,
            "stderr": best.welfare.stderr if best else None,
            "step": best.step if best else None,
            "exact_best_response": self._exact_dynamics(first),
        }

    def _docstrings(self, state: PibrState, record: ProfileRecord) -> list[str]:
        programs = [state.pools[seat][program_id].program for seat, program_id in enumerate(record.profile)]
        return [program.docstring or program.id for program in programs]

    def _exact_dynamics(self, first: ProfileRecord) -> float | None:
        """Where exact best responses lead from there, if the game is a one-shot matrix game and each is unique."""
        matrix, mixtures = one_shot(self._setup.game), first.welfare.mixtures
        if matrix is None or mixtures is None or self._setup.experiment.pibr.order != "alternating":
            return None
        return reached_from(matrix, mixtures, self._setup.experiment.pibr.iterations)
