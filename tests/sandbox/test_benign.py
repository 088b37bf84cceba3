"""Honest programs run unchanged, and play the same moves alone, among 64, and outside the sandbox."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from benign_corpus import PROGRAMS

from games.core import Policy
from games.match import record_match
from games.repeated_rps import RepeatedRPS
from games.seeds import match_seed
from sandbox.lockstep import MatchRecord
from sandbox.referee import Referee

SEEDS = [match_seed(11, k) for k in range(64)]


@dataclass(frozen=True)
class Batched(RepeatedRPS):
    """Repeated rock-paper-scissors stepped ``batch`` matches at a time."""

    batch: int = 64

    @property
    def spec(self):
        from dataclasses import replace

        return replace(super().spec, lockstep=self.batch)


def in_process(source: str, player: int, seed: int) -> Policy:
    namespace: dict[str, object] = {"__name__": "policy"}
    exec(source, namespace)
    if "Policy" in namespace:
        return namespace["Policy"](player, seed)

    class Wrapped:
        def act(self, observation):
            return namespace["policy"](observation)

    return Wrapped()


OPPONENT = PROGRAMS["generators_closures_print"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_alone_and_among_64_play_the_same_moves(referee: Referee, name: str) -> None:
    source = PROGRAMS[name]
    together = referee.play(Batched(num_rounds=20), [source, OPPONENT], seeds=SEEDS)
    assert all(isinstance(record, MatchRecord) for record in together), together[0]
    for k in (0, 17, 63):
        alone = referee.play(Batched(num_rounds=20), [source, OPPONENT], seeds=[SEEDS[k]])[0]
        np.testing.assert_array_equal(alone.actions, together[k].actions)
        assert alone.returns == together[k].returns


# Left out: what the sandbox makes reproducible and a bare process does not (global and unseeded generators,
# module state kept between matches of one process).
@pytest.mark.parametrize("name", ["json_re_string", "big_table", "recursion_900", "distribution", "function"])
def test_moves_equal_those_of_a_match_without_a_sandbox(referee: Referee, name: str) -> None:
    game = RepeatedRPS(num_rounds=20)
    record = referee.play(game, [PROGRAMS[name], OPPONENT], seeds=[SEEDS[5]])[0]

    def factory(source):
        return lambda player, seed: in_process(source, player, seed)

    log = record_match(game, [factory(PROGRAMS[name]), factory(OPPONENT)], SEEDS[5])
    assert record.actions.tolist() == [[step[0], step[1]] for step in log.actions]
    assert record.returns == tuple(log.returns)
