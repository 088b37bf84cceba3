"""The replay audit finds what the sandbox cannot prevent, and clears honest programs."""

from __future__ import annotations

import textwrap
from dataclasses import replace

import pytest
from benign_corpus import PROGRAMS
from conftest import Countdown

from games.repeated_rps import RepeatedRPS
from games.seeds import match_seed
from sandbox.audit import audit, moves_of
from sandbox.faults import Fault
from sandbox.referee import Referee

GAME = RepeatedRPS(num_rounds=40)
SEEDS = [match_seed(23, k) for k in range(8)]
OPPONENT = PROGRAMS["random_global"]

POOLING = """
import sys
shared = sys.modules["games.core"].__dict__.setdefault("pool", [])
class Policy:
    def __init__(self, player, seed):
        self.mine = len(shared)
        shared.append([])
    def act(self, observation):
        if observation["opponent_actions"]:
            shared[self.mine].append(observation["opponent_actions"][-1])
        everything = sum(map(sum, shared)) + sum(map(len, shared))
        return everything % 3
"""
CLOCK = """
import time
def policy(observation):
    return time.perf_counter_ns() // 64 % 3
"""
# Ways from one match of a batch to another in the shared interpreter: each plays by what it finds there.
ROUTES = {
    "collector": """
        import gc
        def policy(observation):
            seen = [o["opponent_actions"] for o in gc.get_objects() if type(o) is dict and "opponent_actions" in o]
            return (sum(map(sum, seen)) + len(seen)) % 3
    """,
    "frames": """
        import sys
        def policy(observation):
            views = sys._getframe(1).f_locals["observations"]
            return (sum(sum(view["opponent_actions"]) for view in views) + len(views)) % 3
    """,
    "seeds_of_other_matches": """
        import sys
        def policy(observation):
            frame = sys._getframe(1)
            while "self" not in frame.f_locals:
                frame = frame.f_back
            return sum(frame.f_locals["self"]._request.seeds) // 7 % 3
    """,
    "patched_generator": """
        import random
        real = random.Random.random
        def policy(observation):
            hidden = sys_random()
            hidden.calls = getattr(hidden, "calls", 0) + 1
            return hidden.calls % 3
        def sys_random():
            import sys
            return sys.modules["random"]
    """,
    "numpy_attribute": """
        import numpy as np
        def policy(observation):
            np.linalg.calls = getattr(np.linalg, "calls", 0) + 1
            return np.linalg.calls % 3
    """,
    "built_in_names": """
        import builtins
        def policy(observation):
            builtins.calls = getattr(builtins, "calls", 0) + 1
            return builtins.calls % 3
    """,
    "other_copies_of_the_module": """
        import gc
        calls = []
        def policy(observation):
            calls.append(1)
            copies = [o for o in gc.get_objects() if type(o) is dict and o.get("__name__") == "policy"]
            return sum(len(copy.get("calls", ())) for copy in copies) % 3
    """,
    "trace_of_the_host": """
        import sys
        count = []
        def trace(frame, event, argument):
            return trace
        def policy(observation):
            sys.settrace(trace)
            sys.modules["sys"].__dict__.setdefault("traced", []).append(len(observation["opponent_actions"]))
            return sum(sys.traced) % 3
    """,
    "slot_number": """
        import sys
        def policy(observation):
            return len(sys._getframe(1).f_locals["results"]) % 3
    """,
    "frozen_time": """
        import time
        real = time.time
        def policy(observation):
            time.calls = getattr(time, "calls", 0) + 1
            return time.calls % 3
    """,
    "compiled_patterns": """
        import re
        def policy(observation):
            re.compile("x" * (len(re._cache) + 1))
            return len(re._cache) % 3
    """,
}
ENTROPY = "import os\ndef policy(observation): return os.urandom(1)[0] % 3\n"
TAKER = "def policy(observation):\n    return observation['legal_actions'][-1]\n"


@pytest.mark.parametrize(
    "name", ["numpy", "random_unseeded", "module_state", "distribution", "heapq_bisect_collections"]
)
@pytest.mark.parametrize("seat", [0, 1])
def test_honest_programs_repeat_every_move(referee: Referee, name: str, seat: int) -> None:
    players = [OPPONENT, OPPONENT]
    players[seat] = PROGRAMS[name]
    records = referee.play(GAME, players, seeds=SEEDS)
    result = audit(referee, GAME, PROGRAMS[name], records, seat)
    assert result.ok, result.detail
    assert result.matches == len(SEEDS)


@pytest.mark.parametrize("source", [POOLING, CLOCK, ENTROPY], ids=["pooling", "clock", "entropy"])
def test_programs_that_use_what_they_should_not_have_differ(referee: Referee, source: str) -> None:
    records = referee.play(GAME, [source, OPPONENT], seeds=SEEDS)
    flagged = [audit(referee, GAME, source, record, 0) for record in records[1:]]
    assert not any(result.ok for result in flagged)
    assert "when replayed alone" in flagged[0].detail


@pytest.mark.parametrize("route", ROUTES)
def test_matches_that_tell_each_other_things_are_found_out(referee: Referee, route: str) -> None:
    source = textwrap.dedent(ROUTES[route])
    records = referee.play(GAME, [source, OPPONENT], seeds=SEEDS)
    assert not any(isinstance(record, Fault) for record in records), records[0]
    assert not all(audit(referee, GAME, source, record, 0).ok for record in records[:3])
    alone = referee.play(GAME, [source, OPPONENT], seeds=SEEDS[:3], strict=True)
    assert all(audit(referee, GAME, source, record, 0).ok for record in alone)


def test_a_match_cannot_change_what_another_sees(referee: Referee) -> None:
    """One match ruins its own observation, in place; the others, of the same program, play as if it had not."""
    vandal = textwrap.dedent("""
        class Policy:
            def __init__(self, player, seed):
                self.vandal = seed % 2
            def act(self, observation):
                theirs = observation["opponent_actions"]
                move = theirs[-1] if theirs else 0
                if self.vandal:
                    theirs[:] = [2] * 99
                    observation.clear()
                    observation["opponent_actions"] = [2]
                return move
    """)
    together = referee.play(GAME, [vandal, OPPONENT], seeds=SEEDS)
    alone = referee.play(GAME, [vandal, OPPONENT], seeds=SEEDS, strict=True)
    assert any(not isinstance(record, Fault) for record in together)
    for one, other in zip(together, alone, strict=True):
        if isinstance(one, Fault) or isinstance(other, Fault):
            assert type(one) is type(other)
        else:
            assert moves_of(one, 1) == moves_of(other, 1) and moves_of(one, 0) == moves_of(other, 0)


def test_strict_matches_leave_nothing_to_pool(referee: Referee) -> None:
    records = referee.play(GAME, [POOLING, OPPONENT], seeds=SEEDS, strict=True)
    assert audit(referee, GAME, POOLING, records, 0).ok


def test_a_program_other_than_the_one_logged_differs(referee: Referee) -> None:
    record = referee.play(GAME, [PROGRAMS["function"], OPPONENT], seeds=SEEDS)[0]
    result = audit(referee, GAME, PROGRAMS["big_table"], record, 0)
    assert not result.ok and f"seed {record.seed}" in result.detail
    failing = audit(referee, GAME, "def policy(o): return 1 // 0", record, 0)
    assert not failing.ok and "runtime_error" in failing.detail


@pytest.mark.parametrize("seat", [0, 1, 2])
def test_games_of_turns_are_audited_too(referee: Referee, seat: int) -> None:
    game = Countdown()
    records = referee.play(game, [TAKER, TAKER, TAKER], seeds=SEEDS)
    assert audit(referee, game, TAKER, records, seat).ok
    other = "def policy(observation):\n    return observation['legal_actions'][0]\n"
    assert not audit(referee, game, other, records, seat).ok


def test_moves_of_a_seat(referee: Referee) -> None:
    record = referee.play(GAME, [PROGRAMS["function"], OPPONENT], seeds=SEEDS[:1])[0]
    assert moves_of(record, 0) == [k % 3 for k in range(40)]
    turns = replace(record, actions=[(0, 2), (1, 1), (0, 1)])
    assert moves_of(turns, 0) == [2, 1]
