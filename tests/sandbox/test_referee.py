"""What the referee promises its callers: faithful matches, faults that name the seat, matches that do not disturb
each other, and errors of its own kept apart from programs' failures."""

from __future__ import annotations

import os
import signal
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Constant, Countdown

from games.match import IllegalMoveError, record_match
from games.repeated_rps import RepeatedRPS
from games.seeds import match_seed, seat_seed
from sandbox.faults import Fault, FaultKind, SandboxError, Stage
from sandbox.limits import Limits
from sandbox.lockstep import MatchRecord
from sandbox.referee import Referee, play

GAME = RepeatedRPS(num_rounds=10)
SEEDS = [match_seed(3, k) for k in range(40)]
RANDOM = """
import random
class Policy:
    def __init__(self, player, seed):
        self.rng = random.Random(seed)
    def act(self, observation):
        return self.rng.randrange(3)
"""
TAKER = """
import random
class Policy:
    def __init__(self, player, seed):
        self.rng = random.Random(seed)
        self.seen = []
    def act(self, observation):
        self.seen.append(("halfway" in observation, len(observation["taken"])))
        assert [n for h, n in self.seen if h] in ([], [4])
        return self.rng.choice(observation["legal_actions"])
"""


def policy(body: str) -> str:
    return "def policy(observation):\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n"


def trusted(action: int):
    return lambda player, seed: Constant(action)


def fault_of(outcome: MatchRecord | Fault) -> Fault:
    assert isinstance(outcome, Fault), outcome
    return outcome


# --- matches -----------------------------------------------------------------------------------------------------
def test_a_record_holds_the_joint_actions_and_their_returns(referee: Referee) -> None:
    record = referee.play(GAME, [policy("return 1"), trusted(0)], seeds=[5])[0]
    assert isinstance(record, MatchRecord)
    assert record.actions.dtype == np.uint8
    assert record.actions.tolist() == [[1, 0]] * 10
    assert (record.returns, record.num_moves, record.seed) == ((10.0, -10.0), 20, 5)


def test_seats_see_their_own_side_of_the_history(referee: Referee) -> None:
    source = policy(
        """
        n = observation["round"]
        assert observation["num_rounds"] == 10 and len(observation["my_actions"]) == n
        assert observation["my_actions"] == [2] * n and observation["opponent_actions"] == [1] * n
        return 2
        """
    )
    for players in ([source, trusted(1)], [trusted(1), source]):
        assert isinstance(referee.play(GAME, players, seeds=[1, 2, 3])[0], MatchRecord)


def test_a_program_object_is_its_source(referee: Referee) -> None:
    @dataclass
    class Program:
        source: str

    with_objects = referee.play(GAME, [Program(RANDOM), Program(RANDOM)], seeds=SEEDS[:2])
    with_text = referee.play(GAME, [RANDOM, RANDOM], seeds=SEEDS[:2])
    assert [r.returns for r in with_objects] == [r.returns for r in with_text]


def test_a_program_learns_its_own_seat_and_seed_only(referee: Referee) -> None:
    source = """
class Policy:
    def __init__(self, player, seed):
        self.digits = [seed // 3**k % 3 for k in range(10)]
        self.digits[9] = player
    def act(self, observation):
        return self.digits[observation["round"]]
"""
    for record in referee.play(GAME, [source, source], seeds=SEEDS[:3]):
        for seat in (0, 1):
            told = seat_seed(record.seed, seat)
            assert record.actions[:9, seat].tolist() == [told // 3**k % 3 for k in range(9)]
            assert record.actions[9, seat] == seat


def test_a_child_has_forgotten_its_rehearsal(referee: Referee) -> None:
    source = """
import gc, linecache, sys
others = [o for o in gc.get_objects() if isinstance(o, type) and o.__module__ == "policy"]
others += [o for o in gc.get_objects() if type(o) is dict and o.get("__name__") == "policy" and o is not globals()]
lines = "".join(linecache.getlines("<policy>"))
def policy(observation):
    assert not others and sys.modules["policy"].__dict__ is globals() and "others" in lines
    return 1
"""
    record = referee.play(GAME, [source, trusted(0)], seeds=SEEDS[:1])[0]
    assert isinstance(record, MatchRecord), record


@pytest.mark.parametrize("lockstep", [1, 3, 8])
def test_a_turn_taking_game_with_chance_and_legal_actions(referee: Referee, lockstep: int) -> None:
    outcomes = referee.play(Countdown(lockstep), [TAKER] * 3, seeds=SEEDS[:10])
    reference = referee.play(Countdown(1), [TAKER] * 3, seeds=SEEDS[:10])
    assert [o.actions for o in outcomes] == [o.actions for o in reference]
    for record in outcomes:
        players = [player for player, _ in record.actions]
        assert players == [k % 3 for k in range(len(players))]
        assert sum(record.returns) == 1.0 and record.returns[players[-1]] == 1.0


def test_matches_of_trusted_policies_equal_those_without_a_referee(referee: Referee) -> None:
    def mixed(player: int, seed: int):
        class Mixed:
            def act(self, observation):
                return [0.2, 0.3, 0.5]

        return Mixed()

    for players in ([mixed, trusted(1)], [mixed, policy("return [0.2, 0.3, 0.5]")]):
        record = referee.play(GAME, players, seeds=[77])[0]
        log = record_match(GAME, [mixed, mixed if len(players[1:]) and isinstance(players[1], str) else players[1]], 77)
        assert record.actions.tolist() == [[step[0], step[1]] for step in log.actions]


def test_strict_mode_plays_the_same_matches_in_fresh_processes(referee: Referee) -> None:
    counting = "calls = []\ndef policy(observation):\n    calls.append(1)\n    return len(calls) % 3\n"
    together = referee.play(GAME, [counting, RANDOM], seeds=SEEDS[:6])
    strict = referee.play(GAME, [counting, RANDOM], seeds=SEEDS[:6], strict=True)
    assert [r.actions.tolist() for r in strict] == [r.actions.tolist() for r in together]


def test_more_seeds_than_one_batch_come_back_in_order(referee: Referee) -> None:
    outcomes = referee.play(GAME, [RANDOM, trusted(0)], seeds=SEEDS)
    assert GAME.spec.lockstep < len(SEEDS)
    assert [o.seed for o in outcomes] == SEEDS


def test_play_without_a_referee_makes_one() -> None:
    assert play(GAME, [policy("return 1"), trusted(0)], seeds=[1])[0].returns == (10.0, -10.0)


# --- failures ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seat", [0, 1])
def test_a_fault_names_the_seat_the_round_and_the_line(referee: Referee, seat: int) -> None:
    failing = policy("if observation['round'] == 4:\n    return 1 // 0\nreturn 0")
    players = [RANDOM, RANDOM]
    players[seat] = failing
    fault = fault_of(referee.play(GAME, players, seeds=[1])[0])
    assert (fault.kind, fault.stage, fault.player, fault.round) == (FaultKind.RUNTIME_ERROR, Stage.MATCH, seat, 4)
    assert "line 3, in policy\n    return 1 // 0" in fault.traceback.replace("      ", "    ")
    assert "sandbox" not in fault.traceback
    assert fault.detail.startswith("ZeroDivisionError")


SOME_FAIL = """
class Policy:
    def __init__(self, player, seed):
        {at_load}
        self.seed = seed
    def act(self, observation):
        if observation["round"] == 5 and self.seed % 4 == 0:
            {at_move}
        return self.seed % 3
"""


@pytest.mark.parametrize(
    ("at_load", "at_move", "kind"),
    [
        ("pass", "raise ValueError(self.seed)", FaultKind.RUNTIME_ERROR),
        ("pass", "return 3", FaultKind.ILLEGAL_ACTION),
        ("pass", "return [1.0, 1.0, 0.0]", FaultKind.ILLEGAL_ACTION),
        ("pass", "print('x' * 9000)", FaultKind.OUTPUT_FLOOD),
        ("pass", "bytearray(1 << 40)", FaultKind.MEMORY),
        ("assert seed % 4", "pass", FaultKind.RUNTIME_ERROR),
    ],
)
def test_one_failing_match_does_not_stop_the_others(referee: Referee, at_load: str, at_move: str, kind: str) -> None:
    source = SOME_FAIL.format(at_load=at_load, at_move=at_move)
    seeds = SEEDS[:32]
    for seat in (0, 1):
        players = [RANDOM, RANDOM]
        players[seat] = source
        outcomes = referee.play(GAME, players, seeds=seeds)
        failing = [seat_seed(seed, seat) % 4 == 0 for seed in seeds]
        assert any(failing) and not all(failing)
        assert [isinstance(o, Fault) for o in outcomes] == failing
        assert {(o.kind, o.player) for o in outcomes if isinstance(o, Fault)} == {(kind, seat)}
        alone = [referee.play(GAME, players, seeds=[seed])[0] for seed in seeds[:6]]
        for lone, among in zip(alone, outcomes[:6], strict=True):
            if isinstance(lone, Fault):
                assert among == lone
            else:
                assert among.actions.tolist() == lone.actions.tolist()


def test_one_match_that_kills_the_process_does_not_take_the_others_along(referee: Referee) -> None:
    doomed = seat_seed(SEEDS[7], 0)
    source = f"""
import os
class Policy:
    def __init__(self, player, seed):
        self.seed = seed
    def act(self, observation):
        if self.seed == {doomed} and observation["round"] == 3:
            os._exit(7)
        return self.seed % 3
"""
    outcomes = referee.play(GAME, [source, RANDOM], seeds=SEEDS[:12])
    assert [isinstance(o, Fault) for o in outcomes] == [k == 7 for k in range(12)]
    fault = fault_of(outcomes[7])
    assert (fault.kind, fault.player) == (FaultKind.KILLED, 0)
    assert "exit code 7" in fault.detail


def test_a_program_that_always_kills_its_process_is_given_up(referee: Referee) -> None:
    outcomes = referee.play(GAME, [policy("import os; os._exit(1)"), RANDOM], seeds=SEEDS[:32])
    assert {fault_of(o).kind for o in outcomes} == {FaultKind.KILLED}


@pytest.fixture
def batches(referee: Referee, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many matches are played together, one time after the other."""
    played: list[int] = []
    play_together = referee._lockstep

    def noted(game, players, seeds, limits):
        played.append(len(seeds))
        return play_together(game, players, seeds, limits)

    monkeypatch.setattr(referee, "_lockstep", noted)
    return played


def hoarder(megabytes: str) -> str:
    """A program that keeps so many of them a match, an expression of ``seed``."""
    return f"""
class Policy:
    def __init__(self, player, seed):
        self.seed, self.table = seed, b""
    def act(self, observation):
        self.table = self.table or bytearray(({megabytes.replace("seed", "self.seed")}) << 20)
        return self.seed % 3
"""


def test_memory_is_each_match_s_own(referee: Referee, batches: list[int]) -> None:
    together = SEEDS[:32]  # 384 MiB of 256
    outcomes = referee.play(GAME, [hoarder("12"), RANDOM], seeds=together, limits=Limits())
    assert all(isinstance(outcome, MatchRecord) for outcome in outcomes), outcomes
    assert [o.actions[0, 0] for o in outcomes] == [seat_seed(seed, 0) % 3 for seed in together]
    assert batches[0] == 32
    assert set(batches[1:]) == {1}
    assert len(batches) < 33, "only those that found none left are played again"


def test_the_seat_that_runs_out_of_memory_alone_too_is_blamed_and_no_other(referee: Referee) -> None:
    greedy = hoarder(f"300 if seed in {[seat_seed(seed, 1) for seed in SEEDS[:2]]} else 1")
    outcomes = referee.play(GAME, [hoarder("12"), greedy], seeds=SEEDS[:32], limits=Limits())
    assert [k for k, outcome in enumerate(outcomes) if isinstance(outcome, Fault)] == [0, 1]
    assert {(fault_of(o).kind, fault_of(o).player) for o in outcomes[:2]} == {(FaultKind.MEMORY, 1)}


def test_a_death_beside_greedy_matches_takes_nobody_along(referee: Referee) -> None:
    own = [seat_seed(seed, 0) for seed in SEEDS[:12]]
    source = f"""
import os
class Policy:
    def __init__(self, player, seed):
        self.seed = seed
    def act(self, observation):
        if self.seed in {own[:2]}:
            bytearray(1 << 40)
        if self.seed == {own[5]}:
            os._exit(7)
        return 1
"""
    outcomes = referee.play(GAME, [source, RANDOM], seeds=SEEDS[:12])
    kinds = {k: outcome.kind for k, outcome in enumerate(outcomes) if isinstance(outcome, Fault)}
    assert kinds == {0: FaultKind.MEMORY, 1: FaultKind.MEMORY, 5: FaultKind.KILLED}


def test_matches_that_hang_once_they_have_memory_are_given_up(referee: Referee, batches: list[int]) -> None:
    source = """
class Policy:
    def __init__(self, player, seed):
        self.table = b""
    def act(self, observation):
        while self.table:
            pass
        self.table = bytearray(60 << 20)
        return 1
"""
    outcomes = referee.play(GAME, [RANDOM, source], seeds=SEEDS[:32], limits=Limits(move_timeout_s=0.2))
    assert {fault_of(o).kind for o in outcomes} == {FaultKind.MEMORY, FaultKind.TIMEOUT}
    assert batches == [32, 1, 1]


def test_a_program_that_always_needs_too_much_memory_says_so_in_each_match(referee: Referee) -> None:
    outcomes = referee.play(GAME, [hoarder("300"), RANDOM], seeds=SEEDS[:8], limits=Limits())
    assert {fault_of(o).kind for o in outcomes} == {FaultKind.MEMORY}


def test_timeouts_point_at_the_stuck_line_and_other_matches_play_on(referee: Referee) -> None:
    slow = [seat_seed(seed, 0) for seed in SEEDS[:12]]
    source = f"""
class Policy:
    def __init__(self, player, seed):
        self.stuck = seed == {slow[4]}
    def act(self, observation):
        while self.stuck:
            pass
        return 1
"""
    limits = Limits(move_timeout_s=0.3)
    outcomes = referee.play(GAME, [source, trusted(0)], seeds=SEEDS[:12], limits=limits)
    assert [isinstance(o, Fault) for o in outcomes] == [k == 4 for k in range(12)]
    fault = fault_of(outcomes[4])
    assert fault.kind is FaultKind.TIMEOUT
    assert "while self.stuck" in fault.traceback or "pass" in fault.traceback
    assert "move_timeout_s=0.3" in fault.detail


def test_slow_but_legal_moves_add_up_to_more_than_one_deadline(referee: Referee) -> None:
    source = policy(
        """
        import time
        end = time.perf_counter() + 0.05
        while time.perf_counter() < end:
            pass
        return 1
        """
    )
    limits = Limits(move_timeout_s=0.3, cpu_s=60)
    outcomes = referee.play(RepeatedRPS(num_rounds=2), [source, trusted(0)], seeds=SEEDS[:16], limits=limits)
    assert all(isinstance(o, MatchRecord) for o in outcomes), outcomes


def test_the_processor_time_of_a_match_is_limited(referee: Referee) -> None:
    source = policy("sum(range(3_000_000))\nreturn 0")
    fault = fault_of(
        referee.play(RepeatedRPS(num_rounds=1000), [source, trusted(0)], seeds=[1], limits=Limits(cpu_s=0.4))[0]
    )
    assert fault.kind is FaultKind.TIMEOUT
    assert "cpu_s=0.4" in fault.detail


def test_output_is_limited_for_each_match(referee: Referee) -> None:
    quiet = policy("print('x' * 50)\nreturn 0")
    limits = Limits(output_bytes=600)
    outcomes = referee.play(GAME, [quiet, trusted(0)], seeds=SEEDS[:20], limits=limits)
    assert all(isinstance(o, MatchRecord) for o in outcomes)
    fault = fault_of(referee.play(GAME, [quiet, trusted(0)], seeds=[1], limits=Limits(output_bytes=400))[0])
    assert fault.kind is FaultKind.OUTPUT_FLOOD


def test_a_source_over_its_limit_is_refused(referee: Referee) -> None:
    fault = fault_of(referee.play(GAME, ["#" * 2000, RANDOM], seeds=[1], limits=Limits(source_bytes=1000))[0])
    assert (fault.kind, fault.stage, fault.player) == (FaultKind.SYNTAX_ERROR, Stage.LOAD, 0)


def test_actions_outside_the_legal_ones_are_a_fault(referee: Referee) -> None:
    for body, seen in (("return 3 - observation['legal_actions'][-1] % 2", "legal are 1"), ("return 250", "illegal")):
        outcomes = referee.play(Countdown(), [policy(body), TAKER, trusted(1)], seeds=SEEDS[:8])
        fault = next(outcome for outcome in outcomes if isinstance(outcome, Fault))
        assert (fault.kind, fault.player) == (FaultKind.ILLEGAL_ACTION, 0)
        assert seen in fault.detail


def test_the_first_of_two_failures_counts(referee: Referee) -> None:
    early, late = policy("return 1 // 0"), policy("return 9")
    assert fault_of(referee.play(GAME, [early, late], seeds=[1])[0]).player == 0
    later = policy("return 0 if observation['round'] < 3 else 9")
    assert fault_of(referee.play(GAME, [later, early], seeds=[1])[0]).player == 1


# --- check -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "outcome", "stage"),
    [
        (RANDOM, "ok", ""),
        ("def policy(:", "syntax_error", "load"),
        ("import sciipy", "import_error", "load"),
        ("x = 1 / 0", "runtime_error", "load"),
        (policy("return observation['nope']"), "runtime_error", "smoke"),
        (policy("return 5"), "illegal_action", "smoke"),
        (policy("x = 1 // (998 - observation['round'])\nreturn 0"), "runtime_error", "match"),
    ],
)
def test_check_says_where_a_program_fails(referee: Referee, source: str, outcome: str, stage: str) -> None:
    result = referee.check(RepeatedRPS(), source)
    assert (result.outcome, result.stage) == (outcome, stage), result
    assert result.level == referee.isolation.level
    assert bool(result.detail) == (outcome != "ok")


def test_check_plays_games_of_any_number_of_players(referee: Referee) -> None:
    assert referee.check(Countdown(), TAKER).outcome == "ok"
    assert referee.check(Countdown(), policy("return 2")).outcome == "illegal_action"


# --- arguments and the sandbox's own errors ----------------------------------------------------------------------
def test_bad_arguments_are_refused(referee: Referee) -> None:
    with pytest.raises(ValueError, match="2 players, got 1"):
        referee.play(GAME, [RANDOM], seeds=[1])
    with pytest.raises(TypeError, match="policy factory"):
        referee.play(GAME, [RANDOM, 3], seeds=[1])
    with pytest.raises(IllegalMoveError):
        referee.play(GAME, [RANDOM, trusted(7)], seeds=[1])


def test_limits_of_the_game_override_those_of_the_referee(referee: Referee) -> None:
    @dataclass(frozen=True)
    class Terse(RepeatedRPS):
        @property
        def spec(self):
            return replace(super().spec, limits={"output_bytes": 10})

    noisy = policy("print('x' * 20)\nreturn 0")
    assert fault_of(referee.play(Terse(), [noisy, RANDOM], seeds=[1])[0]).kind is FaultKind.OUTPUT_FLOOD
    assert isinstance(
        referee.play(Terse(), [noisy, RANDOM], seeds=[1], limits=Limits(output_bytes=10**6))[0], MatchRecord
    )


def children_of(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return found


def test_a_lost_zygote_is_replaced_once() -> None:
    with Referee() as own:
        before = own.play(GAME, [RANDOM, RANDOM], seeds=SEEDS[:3])
        os.kill(own._running().pid, signal.SIGKILL)
        after = own.play(GAME, [RANDOM, RANDOM], seeds=SEEDS[:3])
        assert [r.returns for r in after] == [r.returns for r in before]


def test_a_closed_referee_says_so() -> None:
    own = Referee()
    own.close()
    own.close()
    with pytest.raises(SandboxError, match="closed"):
        own.play(GAME, [RANDOM, RANDOM], seeds=[1])


def test_a_referee_can_keep_to_one_core_and_lets_go_of_it() -> None:
    before = os.sched_getaffinity(0)
    core = min(before)
    with Referee(core=core) as own:
        assert os.sched_getaffinity(0) == {core}
        assert os.sched_getaffinity(own._running().pid) == {core}
        assert isinstance(own.play(GAME, [RANDOM, RANDOM], seeds=[1])[0], MatchRecord)
    assert os.sched_getaffinity(0) == before


# --- forged answers in the form that other games use -------------------------------------------------------------
FORGED = {
    "garbage": ("b'garbage' * 10", FaultKind.KILLED),
    "old question": ("(7).to_bytes(4, 'little') + b'\\0' + (1).to_bytes(4, 'little')", FaultKind.KILLED),
    "illegal action": ("first + b'\\0' + (999).to_bytes(4, 'little')", FaultKind.KILLED),
    "negative action": ("first + b'\\0' + (-7).to_bytes(4, 'little', signed=True)", FaultKind.KILLED),
    "silent failure": ("first + b'\\0' + (-1).to_bytes(4, 'little', signed=True)", FaultKind.KILLED),
    "forbidden here": ("first + b'\\0' + (250).to_bytes(4, 'little')", FaultKind.ILLEGAL_ACTION),
    "no probabilities": (
        "first + b'\\2' + (-2).to_bytes(4, 'little', signed=True) + bytes(2400)",
        FaultKind.ILLEGAL_ACTION,
    ),
    "endless failure": ("first + b'\\1' + (-1).to_bytes(4, 'little', signed=True) + b'\\xff' * 4", FaultKind.KILLED),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_answers_end_only_the_forgers_matches(referee: Referee, name: str) -> None:
    data, kind = FORGED[name]
    forger = policy(f"import os\nfirst = (1).to_bytes(4, 'little')\nos.write(1, {data})\nwhile True:\n    pass")
    fault = fault_of(referee.play(Countdown(), [forger, TAKER, TAKER], seeds=[5], limits=Limits(move_timeout_s=0.3))[0])
    assert (fault.kind, fault.player) == (kind, 0), fault
