"""Rounds in compiled code: the same matches, faults and limits as without, whatever the programs do, and whenever."""

from __future__ import annotations

import os
import signal
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from games.repeated_rps import RepeatedRPS
from games.seeds import match_seed, seat_seed
from sandbox import action_histories, plain_rounds, wire
from sandbox.child import ChildQuota
from sandbox.faults import Fault, FaultKind
from sandbox.limits import Limits
from sandbox.lockstep import MatchRecord, Outcome
from sandbox.referee import Referee

ROUNDS = 60
GAME = RepeatedRPS(num_rounds=ROUNDS)
SEEDS = [match_seed(9, k) for k in range(8)]
LIMITS = Limits(move_timeout_s=0.4, cpu_s=5.0)
PROGRAM = """
import os, random, sys, time
class Policy:
    def __init__(self, player, seed):
        self.rng = random.Random(seed)
        self.odd = self.rng.random() < 0.5
    def act(self, observation):
        theirs, mine, turn = observation["opponent_actions"], observation["my_actions"], observation["round"]
        assert len(theirs) == len(mine) == turn
        move = (sum(theirs[-3:]) + self.rng.randrange(3)) % 3
        {odd}
        return move
"""
PLAIN = PROGRAM.format(odd="pass")
ODD = {
    "always mixed": "return [0.2, 0.3, 0.5]",
    "mixed now and then": "if turn % 7 == 3: return [0.2, 0.3, 0.5]",
    "mixed in some matches": "if self.odd and turn == 20: return [1.0, 0.0, 0.0]",
    "no distribution": "if self.odd and turn == 20: return [0.9, 0.9, 0.9]",
    "raises in some matches": "if self.odd and turn == 20: raise ValueError('bad luck')",
    "raises at once": "if self.odd: return 1 / 0",
    "raises at the end": f"if turn == {ROUNDS - 1}: raise KeyError(turn)",
    "illegal": "if self.odd and turn == 20: return 3",
    "a numpy move": "import numpy; move = numpy.int64(move)",
    "a late move": "if self.odd and turn in (3, 20): time.sleep(0.1)",
    "stuck": "if self.odd and turn == 20: time.sleep(60)",
    "floods": "if self.odd and turn > 20: print('x' * 1000)",
    "exits": "if self.odd and turn == 20: os._exit(3)",
    "leaves": "if self.odd and turn == 20: sys.exit()",
    "forges": "if turn == 20: os.write(1, b'forged')",
    "forges a plain answer": "if turn == 20: os.write(1, (21).to_bytes(4, 'little') + bytes(9))",
    "answers too little": "if turn == 20: os.write(1, (22).to_bytes(4, 'little')); os._exit(0)",
}


@pytest.fixture(scope="module")
def referee() -> Iterator[Referee]:
    with Referee(LIMITS) as referee:
        yield referee


@contextmanager
def python_only() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(action_histories, "library", lambda: None)
        yield


def played(outcome: Outcome) -> object:
    if isinstance(outcome, MatchRecord):
        return outcome.returns, outcome.actions.tolist()  # type: ignore[union-attr]
    return replace(outcome, detail="") if outcome.kind is FaultKind.KILLED else outcome


def test_the_compiled_part_is_here() -> None:
    assert plain_rounds.library() is not None, "csro was installed without a C compiler"


@pytest.mark.parametrize("seat", [0, 1])
@pytest.mark.parametrize("odd", ODD)
def test_matches_and_faults_are_those_of_python(referee: Referee, odd: str, seat: int) -> None:
    players = [PLAIN, PLAIN]
    players[seat] = PROGRAM.format(odd=ODD[odd])
    compiled = referee.play(GAME, players, seeds=SEEDS)
    with python_only():
        plain = referee.play(GAME, players, seeds=SEEDS)
    assert list(map(played, compiled)) == list(map(played, plain))


@pytest.mark.parametrize("rounds", [1, 2, plain_rounds.ROUNDS_AT_ONCE, plain_rounds.ROUNDS_AT_ONCE + 1])
def test_games_of_any_length_are_played_to_their_end(referee: Referee, rounds: int) -> None:
    outcomes = referee.play(RepeatedRPS(num_rounds=rounds), [PLAIN, PLAIN], seeds=SEEDS[:2])
    with python_only():
        assert list(map(played, outcomes)) == list(
            map(played, referee.play(RepeatedRPS(num_rounds=rounds), [PLAIN, PLAIN], seeds=SEEDS[:2]))
        )
    assert all(isinstance(each, MatchRecord) and each.actions.shape == (rounds, 2) for each in outcomes)  # type: ignore[union-attr]


def test_plain_rounds_are_played_by_the_compiled_part(referee: Referee, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    play = plain_rounds.PlainRounds.play

    def counting(self: plain_rounds.PlainRounds, own: bytes, other: bytes, rounds: int) -> plain_rounds.Played:
        counted.append(play(self, own, other, rounds))
        return counted[-1]

    monkeypatch.setattr(plain_rounds.PlainRounds, "play", counting)
    referee.play(GAME, [PLAIN, PLAIN], seeds=SEEDS)
    assert sum(each.rounds for each in counted) == ROUNDS
    assert not any(each.is_open for each in counted)


def test_processor_time_is_looked_at_between_plain_rounds(referee: Referee, monkeypatch: pytest.MonkeyPatch) -> None:
    def boundless(limits: Limits, _count: int) -> ChildQuota:  # so that the kernel is not first
        return ChildQuota(limits.memory_bytes, 1000)

    monkeypatch.setattr("sandbox.remote_policy.process_quota", boundless)
    busy = PROGRAM.format(odd="end = time.process_time() + 0.01\n        while time.process_time() < end: pass")
    outcome = referee.play(
        RepeatedRPS(num_rounds=1000), [PLAIN, busy], seeds=SEEDS[:1], limits=replace(LIMITS, cpu_s=0.5)
    )[0]
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.player) == (FaultKind.TIMEOUT, 1)
    assert "cpu_s" in outcome.detail


def test_signals_are_heeded_and_change_nothing(referee: Referee) -> None:
    expected = list(map(played, referee.play(GAME, [PLAIN, PLAIN], seeds=SEEDS)))
    slow = PROGRAM.format(odd="time.sleep(0.002)")
    alarms = []
    before = signal.signal(signal.SIGALRM, lambda *_: alarms.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    try:
        outcomes = referee.play(GAME, [PLAIN, slow], seeds=SEEDS)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert list(map(played, outcomes)) == expected
    assert len(alarms) > 20


def test_an_interruption_ends_a_match_at_once(referee: Referee) -> None:
    slow = PROGRAM.format(odd="time.sleep(0.002)")

    class Interruption(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(Interruption):
            referee.play(RepeatedRPS(num_rounds=1_000_000), [slow, slow], seeds=SEEDS[:1])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert isinstance(referee.play(GAME, [PLAIN, PLAIN], seeds=SEEDS[:1])[0], MatchRecord)


class Piped:
    """What :class:`sandbox.plain_rounds.PlainRounds` needs to know of a program, over pipes of our own."""

    count, sequence, cpu_check_at_s, move_timeout_s = 2, 0, 1e9, 0.1

    def __init__(self) -> None:
        self.its_read_fd, self.write_fd = os.pipe()
        self.read_fd, self.its_write_fd = os.pipe()
        os.set_blocking(self.write_fd, False)
        self.told: list[tuple[object, ...]] = []
        weakref.finalize(self, lambda fds: [os.close(fd) for fd in fds], (self.read_fd, self.write_fd))

    def go_on(self, *told: object) -> None:
        self.told.append(told)

    def answers(self, sequence: int, moves: bytes) -> None:
        os.write(self.its_write_fd, sequence.to_bytes(4, "little") + wire.PLAIN_FLAG + moves)


def rounds_between(first: Piped, second: Piped, rounds: int) -> plain_rounds.Played:
    compiled = plain_rounds.library()
    assert compiled is not None
    between = plain_rounds.PlainRounds(compiled, (first, second), 3)  # type: ignore[arg-type]
    return between.play(b"\xff\xff", b"\xff\xff", rounds)


def test_a_round_that_is_not_answered_is_handed_over_as_it_stands() -> None:
    first, second = Piped(), Piped()
    for each in first, second:
        each.answers(1, b"\1\2")
    first.answers(2, b"\0\0")
    played = rounds_between(first, second, 5)
    assert (played.rounds, played.own, played.other, played.is_open) == (1, b"\1\2", b"\1\2", True)
    assert first.told == [(2, b"", b"\2\0\0\0\0\0\0")]
    assert second.told == [(2, b"", None)]


def test_what_a_full_pipe_does_not_take_is_handed_over() -> None:
    first, second = Piped(), Piped()
    while True:
        try:
            os.write(second.write_fd, bytes(4096))
        except BlockingIOError:
            break
    played = rounds_between(first, second, 5)
    assert (played.rounds, played.is_open) == (0, True)
    assert first.told == [(1, b"", None)]
    assert second.told == [(1, b"\1\0\0\0\xff\xff\xff\xff", None)]


def test_a_program_that_is_gone_is_handed_over() -> None:
    first, second = Piped(), Piped()
    os.close(first.its_read_fd)
    os.close(first.its_write_fd)
    played = rounds_between(first, second, 5)
    assert (played.rounds, played.is_open) == (0, True)
    assert first.told == [(1, b"\1\0\0\0\xff\xff\xff\xff", None)]


def test_an_instance_that_failed_is_let_go(referee: Referee) -> None:
    """Its memory is the other matches'."""
    hoarding = f"""
import gc
class Policy:
    def __init__(self, player, seed):
        self.first = seed == {seat_seed(SEEDS[0], 0)}
    def act(self, observation):
        if self.first and observation["round"] == 5:
            raise ValueError
        alive = sum(type(each).__name__ == "Policy" for each in gc.get_objects())
        return min(2, alive - 1) if observation["round"] == 8 else 0
"""
    outcomes = referee.play(GAME, [hoarding, PLAIN], seeds=SEEDS[:2])
    assert isinstance(outcomes[0], Fault)
    assert isinstance(outcomes[1], MatchRecord)
    assert outcomes[1].actions[8][0] == 0  # type: ignore[index]
