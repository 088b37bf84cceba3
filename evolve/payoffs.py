"""Matches behind the empirical game: each block of matches of each profile is played once, and kept in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from evolve.archive.store import Store
from evolve.empirical_game import EmpiricalGame, Profile
from evolve.meta_solvers import MetaStrategy
from evolve.policy_pool import PolicyPool
from evolve.program import Program
from evolve.psro_state import PsroConfig
from evolve.scoring import LINEUP, Failed, OpponentReturn, Scorer, ScoringTask
from evolve.top_up import due_profiles
from games.core import Game
from games.seeds import match_seed

_PROFILES_A_ROUND = 8  # topped up between two solutions of the empirical game


class ProfilePayoffs:
    """Plays profiles of pooled policies. Block 0 of a profile is its first estimate, further ones its top-ups."""

    def __init__(self, game: Game, scorer: Scorer, store: Store, scoring: ScoringTask, config: PsroConfig) -> None:
        self._spec = game.spec
        self._scorer = scorer
        self._store = store
        self._scoring = scoring
        self._config = config

    async def filled(self, game: EmpiricalGame, pools: Sequence[PolicyPool]) -> EmpiricalGame:
        """With the profiles that had no payoff yet: after a promotion, those of the new policy alone."""
        missing = game.missing()
        played = await asyncio.gather(*(self._returns(_programs(pools, profile), 0) for profile in missing))
        for profile, returns in zip(missing, played, strict=True):
            game = game.with_payoff(profile, *returns)
        return game

    async def topped_up(
        self, game: EmpiricalGame, pools: Sequence[PolicyPool], meta_strategy: MetaStrategy, searches: int
    ) -> EmpiricalGame:
        """With one more block of matches for each profile on which ``meta_strategy`` hangs most, at most 8 of them.

        The same game if there is none, or if the ``top_up_matches`` of ``searches`` searches are spent. What is spent
        is read off the game, so a run that was killed between two rounds plays the same ones again from the store."""
        block = self._config.payoff_matches
        left = self._config.top_up_matches * searches - extra_matches(game, block)
        due = due_profiles(game, meta_strategy)[: max(0, min(_PROFILES_A_ROUND, left // block))]
        played = await asyncio.gather(
            *(self._returns(_programs(pools, profile), game.payoff(profile).matches // block) for profile in due)
        )
        for profile, returns in zip(due, played, strict=True):
            game = game.with_more_matches(profile, *returns)
        return game

    async def _returns(self, programs: Sequence[Program], block: int) -> list[OpponentReturn]:
        """One return per player; the first player's alone where it fixes the others'."""
        fixed = self._spec.utility == "common_payoff" or (
            self._spec.utility == "zero_sum" and self._spec.num_players == 2
        )
        players = range(1 if fixed else len(programs))
        return list(await asyncio.gather(*(self._return(programs, player, block) for player in players)))

    async def _return(self, programs: Sequence[Program], player: int, block: int) -> OpponentReturn:
        config, program = self._config, programs[player]
        others = [*programs[:player], *programs[player + 1 :]]
        lineup = LINEUP.join(other.id for other in others)
        again = (block,) if block else ()
        seed = match_seed(config.seed, "payoffs", *sorted(p.id for p in programs), *again)
        name = f"{seed}:{config.payoff_matches}:{player}" + ":strict" * config.strict_payoffs
        known = self._store.payoffs.get(program.id, lineup, name)
        if known is not None:
            return known
        task = replace(
            self._scoring,
            opponents={other.id: other for other in others},
            weights={lineup: 1.0},
            matches_per_opponent=config.payoff_matches,
            seed=seed,
            player=player,
            audit_share=0.0,
            strict=config.strict_payoffs,
        )
        evaluation = await self._scorer.score(program, task)
        if isinstance(evaluation, Failed):
            # It was promoted against others, so here it plays on and loses all there is to lose.
            self._store.log({"type": "forfeit", "program": program.id, "opponent": lineup, "fault": evaluation.fault})
            payoff = OpponentReturn(self._spec.return_range[0], 0.0, task.matches_per_opponent)
        else:
            payoff = evaluation.by_opponent[lineup]
        self._store.payoffs.put(program.id, lineup, name, payoff)
        return payoff


def extra_matches(game: EmpiricalGame, block: int) -> int:
    """Matches beyond the first ``block`` of each profile."""
    return sum(max(0, game.payoff(profile).matches - block) for profile in game.played())


def _programs(pools: Sequence[PolicyPool], profile: Profile) -> list[Program]:
    return [(pools[seat] if len(pools) > 1 else pools[0])[i].program for seat, i in enumerate(profile)]
