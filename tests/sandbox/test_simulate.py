"""Programs that simulate each other, through the sandbox: the same as in process, on shared fuel, whatever they do."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from games.match import record_match
from games.program_game import ProgramGame, TrustedProgram, chicken, prisoners_dilemma, program_bimatrix, stag_hunt
from games.repeated_rps import RepeatedRPS
from games.seeds import match_seed, seat_seed
from games.simulation import MAX_DEPTH, SimulationUse, TrustedRunner
from sandbox import guards, wire, zygote_client
from sandbox.audit import audit
from sandbox.faults import Fault, FaultKind, SandboxError
from sandbox.guards import Alarm
from sandbox.limits import Limits
from sandbox.lockstep import MatchRecord, Outcome
from sandbox.program_errors import MoveTimeoutError
from sandbox.referee import Referee

PD = prisoners_dilemma()
C, D = 0, 1
SEEDS = [match_seed(5, k) for k in range(24)]
FAIR, CLIQUE, NICE, NASTY = (
    PD.reference_programs()[name] + "# a file of its own\n"
    for name in ("fair_bot", "clique_bot", "cooperate_bot", "defect_bot")
)
FAIR_TRUSTED = PD.reference_population()["fair_bot"]
MIRROR = 'def policy(seen):\n    return simulate(seen["opponent_source"], seen["my_source"])\n'


@pytest.fixture(scope="module")
def quick() -> Iterator[Referee]:
    limits = Limits(move_timeout_s=0.3, kill_grace_s=0.1, simulation_cpu_s=0.5)
    with Referee(limits) as running:
        yield running


def records(outcomes: list[Outcome]) -> list[MatchRecord]:
    assert all(isinstance(outcome, MatchRecord) for outcome in outcomes), outcomes
    return outcomes  # type: ignore[return-value]


def asking(text: str, times: int = 1) -> str:
    """Does what the program ``text`` mostly does in the other seat."""
    return f"def policy(seen):\n    return max(simulate({text!r}, '') for _ in range({times}))\n"


# --- what it comes to -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("game", [PD, stag_hunt(), chicken(epsilon=0.4), program_bimatrix()], ids=lambda g: g.spec.name)
def test_matches_are_those_of_trusted_programs(referee: Referee, game: ProgramGame) -> None:
    """Move by move and call by call, whichever of the two runs in the sandbox."""
    texts = [game.reference_programs()[name] + "# file\n" for name in ("fair_bot", "fair_bot")]
    texts[1] += "# another\n"
    trusted = [TrustedProgram(game, text, TrustedRunner(texts)) for text in texts]
    seeds = SEEDS[:6]
    for players in (texts, [trusted[0], texts[1]], [texts[0], trusted[1]]):
        for played in records(referee.play(game, players, seeds=seeds)):
            log = record_match(game, trusted, played.seed)
            assert played.returns == tuple(log.returns)
            assert played.program_sources == tuple(texts)
            assert played.simulations == uses(trusted, played.seed)


def uses(trusted: list[TrustedProgram], seed: int) -> tuple[SimulationUse, ...]:
    texts = [program.program_source for program in trusted]
    found = []
    for seat, program in enumerate(trusted):
        policy = program(seat, seat_seed(seed, seat))
        policy.act(program.game.observation(seat, texts[seat], texts[1 - seat]))
        found.append(policy.simulations.fuel.use)
    return tuple(found)


@pytest.mark.parametrize(
    ("opponent", "expected"), [(NICE, (3.0, 3.0)), (NASTY, (0.9, 1.4)), (CLIQUE, (0.9, 1.4)), (FAIR, (3.0, 3.0))]
)
def test_a_fair_bot_file_keeps_its_table(referee: Referee, opponent: str, expected: tuple[float, float]) -> None:
    """The payoffs of Oesterheld's epsilon-grounded FairBot, epsilon 0.1: against a defector 0.9 * 1 + 0.1 * 0."""
    played = records(referee.play(PD, [FAIR, opponent], seeds=SEEDS))
    cooperations = sum(record.actions[0] == (0, C) for record in played)
    if expected == (3.0, 3.0):
        assert {record.returns for record in played} == {expected}
    else:
        assert 0 <= cooperations <= 8, "24 draws with probability 0.1: more than 8 once in 500,000"
        assert {record.returns for record in played} <= {(1.0, 1.0), (0.0, 5.0)}


def test_alone_or_together_the_same(referee: Referee) -> None:
    together = records(referee.play(PD, [FAIR, FAIR.replace("0.1", "0.3")], seeds=SEEDS))
    alone = records(referee.play(PD, [FAIR, FAIR.replace("0.1", "0.3")], seeds=SEEDS[::5], strict=True))
    assert alone == together[::5]
    assert len({record.simulations for record in together}) > 4, "every match has fuel of its own"


def test_reference_players_simulate_untrusted_opponents_in_the_sandbox(referee: Referee) -> None:
    fair = PD.reference_population()["fair_bot"]
    breach = "import sys\ndef policy(seen):\n    sys.breached = True\n    return 0\n"
    played = records(referee.play(PD, [fair, breach], seeds=SEEDS))
    assert {record.returns for record in played} == {(3.0, 3.0)}
    assert any(record.simulations[0].calls for record in played)
    assert not hasattr(sys, "breached")


def test_the_audit_shows_opponents_their_texts(referee: Referee) -> None:
    for players in ([FAIR, CLIQUE], [CLIQUE, CLIQUE], [FAIR, FAIR]):
        played = records(referee.play(PD, list(players), seeds=SEEDS[:3]))
        result = audit(referee, PD, players[0], played, 0)
        assert result.ok, result.detail


def test_the_unit_test_knows_simulate(referee: Referee) -> None:
    assert referee.check(PD, FAIR).outcome == "ok"
    wrong = referee.check(PD, "def policy(seen):\n    return simulate(3, seen['my_source'])\n")
    assert wrong.outcome == "runtime_error"
    assert "simulate takes program texts: source must be a str, not int" in wrong.detail
    assert "return simulate(3, seen['my_source'])" in wrong.traceback and "sandbox" not in wrong.traceback


def test_asked_outside_a_match_it_simulates_too(referee: Referee) -> None:
    seen = PD.observation(0, MIRROR, NASTY)
    assert referee.ask(PD, MIRROR, 0, [seen], seed=3) == [D]


def test_other_games_have_no_simulate(referee: Referee) -> None:
    (outcome,) = referee.play(RepeatedRPS(num_rounds=2), ["def policy(seen): return simulate('', '')"] * 2, seeds=[1])
    assert isinstance(outcome, Fault) and "name 'simulate' is not defined" in outcome.detail


# --- fuel -----------------------------------------------------------------------------------------------------------
def test_an_endless_recursion_runs_out_of_depth(referee: Referee) -> None:
    limit = sys.getrecursionlimit()
    (played,) = records(referee.play(PD, [MIRROR, NICE], seeds=[1]))
    assert (played.returns, played.simulations[0]) == ((3.0, 3.0), SimulationUse(1, 1))
    ample = Limits(simulation_cpu_s=60)  # depth is to run out, not time, on a slow machine too
    (played,) = records(referee.play(PD, [MIRROR, MIRROR], seeds=[1], limits=ample))
    assert played.returns == (1.0, 1.0)
    assert played.simulations == (SimulationUse(MAX_DEPTH, MAX_DEPTH, 1),) * 2
    assert sys.getrecursionlimit() >= limit


def test_seats_and_matches_have_fuel_of_their_own(referee: Referee) -> None:
    game = prisoners_dilemma(max_calls=5)
    for played in records(referee.play(game, [asking(NICE, 7), NICE], seeds=SEEDS[:3])):
        assert played.returns == (5.0, 0.0), "two of seven calls are answered with defection"
        assert played.simulations == (SimulationUse(5, 1, 2), SimulationUse())


def test_deadlines_leave_out_the_time_of_others(referee: Referee) -> None:
    """Three simulations of 0.4 seconds each, in a move that has one second."""
    slow = "import time\ndef policy(seen):\n    while time.process_time() < 0.4: pass\n    return 0\n"
    limits = Limits(move_timeout_s=1.0, simulation_cpu_s=60)
    (played,) = records(referee.play(PD, [asking(slow, 3), NICE], seeds=[1], limits=limits))
    assert played.returns == (3.0, 3.0)
    assert played.simulations[0] == SimulationUse(3, 1)


@pytest.mark.parametrize(
    "text",
    [
        "not a program",
        "",
        "# \x00",
        "import no_such_module",
        "def policy(seen): raise ValueError",
        "def policy(seen): return 7",
        "def policy(seen): return 'cooperate'",
        "def policy(seen): return [0.5, 0.6]",
        "def policy(seen): return bytearray(1 << 28)[0]",
        "def policy(seen): print('x' * 10**5)",
        "import os\ndef policy(seen): os._exit(0)",
        "import os\ndef policy(seen): os.kill(os.getppid(), 9)",
        "def policy(seen):\n    while True: pass",
        "import os\ndef policy(seen): return os.read(0, 1)",
        "while True: pass",
    ],
)
def test_a_simulation_that_fails_counts_as_defecting(quick: Referee, text: str) -> None:
    (played,) = records(quick.play(PD, [asking(text), NICE], seeds=[1]))
    assert played.returns == (5.0, 0.0)
    assert played.simulations == (SimulationUse(1, 1, failed=1), SimulationUse())


def test_programs_that_hang_cost_one_account_of_time_not_a_time_out_a_call(quick: Referee) -> None:
    """Half a second pays for two time-outs of 0.3 seconds; nested ones under way then end as well."""
    hangs = "def policy(seen):\n    while True: pass\n"
    nested = f"def policy(seen):\n    while True: simulate({hangs!r}, '')\n"
    for text in (hangs, nested):
        (played,) = records(quick.play(PD, [asking(text, 40), NICE], seeds=[1]))
        use = played.simulations[0]
        assert use.failed == use.calls, "those that came too late have failed too"
    spent = (
        f"def policy(seen):\n    simulate({hangs!r}, ''), simulate({hangs!r}, '')\n    return simulate({NICE!r}, '')\n"
    )
    (played,) = records(quick.play(PD, [spent, NICE], seeds=[1]))
    assert played.returns == (5.0, 0.0), "no time is left for one that would have cooperated"


def test_simulated_programs_have_less_memory() -> None:
    """So that a deep recursion of greedy ones stays affordable."""
    text = "def policy(seen): return bytearray(24 << 20)[0]"
    with Referee(Limits(simulation_memory_bytes=64 << 20)) as generous, Referee(Limits()) as usual:
        for referee, expected in ((generous, (3.0, 3.0)), (usual, (5.0, 0.0))):
            (played,) = records(referee.play(PD, [asking(text), text], seeds=[1]))
            assert played.returns == expected


def test_a_program_stuck_between_simulations_is_timed_out_where_it_is_stuck(quick: Referee) -> None:
    stuck = f"def policy(seen):\n    simulate({NICE!r}, '')\n    while True: pass\n"
    flood = "def policy(seen):\n    while True: simulate('', '')\n"
    for text, line in ((stuck, "while True: pass"), (flood, "while True: simulate('', '')")):
        (outcome,) = quick.play(PD, [text, NICE], seeds=[1])
        assert isinstance(outcome, Fault)
        assert (outcome.kind, outcome.player) == (FaultKind.TIMEOUT, 0)
        assert line in outcome.traceback and "sandbox" not in outcome.traceback.replace("sandbox.MoveTimeoutError", "")


def test_an_alarm_waits_for_the_end_of_an_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bytes] = []
    monkeypatch.setattr(guards.wire, "write_all", lambda fd, data: told.append(data))
    alarm = Alarm()
    alarm.start(wire.SEQUENCE.pack(3))
    alarm.armed = True
    alarm.hold()
    alarm(14, None)
    assert told == []
    with pytest.raises(MoveTimeoutError):
        alarm.release()
    assert told == [wire.SEQUENCE.pack(3) + wire.TICK_FLAG]
    alarm.hold()
    alarm.release()


def test_texts_may_hold_what_utf_8_cannot(referee: Referee) -> None:
    odd = "# \ud800\n" + NICE
    (outcome,) = referee.play(PD, [CLIQUE, odd], seeds=[1])
    assert isinstance(outcome, Fault) and (outcome.kind, outcome.player) == (FaultKind.SYNTAX_ERROR, 1)


@contextlib.contextmanager
def few_processes(monkeypatch: pytest.MonkeyPatch, most: int) -> Iterator[Referee]:
    """A referee whose sandbox may have ``most`` processes, its fork server and that one's parent among them."""
    if os.getuid() != 0:
        pytest.skip("needs root, to give the sandbox a user of its own")
    monkeypatch.setattr(zygote_client, "UNPRIVILEGED_UID", 64_000 + most)
    monkeypatch.setattr(zygote_client, "_FORK_PATIENCE_S", 0.2)
    before = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, before[1]))  # does not bind root, but those whom it starts
    try:
        referee = Referee()
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, before)
    with referee:
        yield referee


NESTING = "def policy(seen):\n    return simulate(seen['my_source'], seen['my_source'])\n"


def test_a_refused_fork_fails_the_match_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container's limit on processes does while simulations nest: fork server and referee live on."""
    with few_processes(monkeypatch, 24) as referee:
        pid = referee._running().pid
        for players, guilty in (([NESTING, NICE], 0), ([NICE, NESTING], 1), ([FAIR_TRUSTED, NESTING], 1)):
            (outcome,) = referee.play(PD, players, seeds=[1])
            assert isinstance(outcome, Fault), "24 processes are enough for it"
            assert (outcome.kind, outcome.player) == (FaultKind.KILLED, guilty)
            assert "a simulation cannot run: no process could be started" in outcome.detail
        assert len(records(referee.play(PD, [NASTY, NICE], seeds=SEEDS[:3]))) == 3
        assert referee._running().pid == pid


def test_no_process_for_a_player_is_the_operators_business(monkeypatch: pytest.MonkeyPatch) -> None:
    with few_processes(monkeypatch, 3) as referee:
        pid = referee._running().pid
        for _ in range(2):
            with pytest.raises(SandboxError, match="raise the limit on processes"):
                referee.play(PD, [NASTY, NICE], seeds=[1])
        assert referee.ask(PD, NASTY, 0, [PD.observation(0, NASTY, NASTY)], seed=3) == [D]
        assert referee._running().pid == pid


def test_a_fork_server_that_gets_no_child_at_all_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SandboxError, match="no process could be started"), few_processes(monkeypatch, 2):
        pass


def test_what_a_modest_simulation_lacks_is_the_operators_business(monkeypatch: pytest.MonkeyPatch) -> None:
    with few_processes(monkeypatch, 4) as referee:
        for players in ([MIRROR, NICE], [NICE, MIRROR]):
            with pytest.raises(SandboxError, match="raise the limit on processes"):
                referee.play(PD, players, seeds=[1])
        assert len(records(referee.play(PD, [NASTY, NICE], seeds=[1]))) == 1
    with few_processes(monkeypatch, 5) as referee:
        assert len(records(referee.play(PD, [MIRROR, NICE], seeds=[1]))) == 1


def test_descriptors_are_the_referees_and_never_a_programs_fault() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Referee() as referee:
        assert len(records(referee.play(PD, [NASTY, NICE], seeds=[1]))) == 1
        taken = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 40, before[1]))
        try:
            with pytest.raises(SandboxError, match="ulimit -n"):
                referee.play(PD, [NESTING, NICE], seeds=[1])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert len(records(referee.play(PD, [NASTY, NICE], seeds=[1]))) == 1
