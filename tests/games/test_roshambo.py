"""The bots' two traps (one libc generator for all, an unchecked buffer) stay shut."""

from __future__ import annotations

import ctypes
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from games import roshambo
from games.core import ActionHistory, Policy
from games.match import play_match
from games.repeated_rps import RepeatedRPS
from games.roshambo import RoshamboPolicy, roshambo_population

ROUNDS = 60
POPULATION = roshambo_population(ROUNDS)


def test_there_are_43_bots() -> None:
    assert len(POPULATION) == 43
    assert {"greenberg", "iocainebot", "randbot", "phasenbott", "markov5"} <= set(POPULATION)


class _Duel:
    """A bot against an opponent who throws a fixed random sequence; one step at a time."""

    def __init__(self, name: str, seed: int) -> None:
        self.bot: Policy = POPULATION[name](0, seed)
        self.opponent = random.Random(name)
        self.view = ActionHistory(ROUNDS)

    def step(self) -> None:
        self.view.extend(int(self.bot.act(self.view.observation)), self.opponent.randrange(3))  # type: ignore[call-overload]


def test_interleaved_matches_equal_sequential_ones() -> None:
    sequential = []
    for name in POPULATION:
        duel = _Duel(name, seed=5)
        for _ in range(ROUNDS):
            duel.step()
        sequential.append(list(duel.view.mine))
    interleaved = [_Duel(name, seed=5) for name in POPULATION]
    for _ in range(ROUNDS):
        for duel in interleaved:
            duel.step()
    assert [duel.view.mine for duel in interleaved] == sequential


def test_a_match_of_two_bots_is_a_function_of_its_seed() -> None:
    game = RepeatedRPS(ROUNDS)
    pair = [POPULATION["randbot"], POPULATION["switchalot"]]
    returns = [play_match(game, pair, seed)[0] for seed in range(8)]
    assert [play_match(game, pair, seed)[0] for seed in range(8)] == returns
    assert len(set(returns)) > 1


def _throws(seed: int) -> list[int]:
    duel = _Duel("randbot", seed)
    for _ in range(ROUNDS):
        duel.step()
    return list(duel.view.mine)


def test_seeds_0_and_1_are_two_seeds() -> None:
    assert len({tuple(_throws(seed)) for seed in (0, 1, 2, 2**32 - 2)}) == 4


def test_the_callers_own_stream_of_random_is_left_alone() -> None:
    libc = ctypes.CDLL(None)
    libc.random.restype = ctypes.c_long
    libc.srandom(7)
    expected = [libc.random() for _ in range(4)]
    libc.srandom(7)
    drawn = [libc.random(), libc.random()]
    _throws(3)
    assert [*drawn, libc.random(), libc.random()] == expected


def test_a_seeded_bot_throws_evenly() -> None:
    throws = [throw for seed in range(100) for throw in _throws(seed)]
    counts = np.bincount(throws, minlength=3)
    assert abs(counts - len(throws) / 3).max() < 5 * np.sqrt(len(throws) * 2 / 9)


def test_a_bot_refuses_to_act_beyond_its_length() -> None:
    duel = _Duel("greenberg", 0)
    for _ in range(ROUNDS):
        duel.step()
    with pytest.raises(ValueError, match=f"at round {ROUNDS} of {ROUNDS}"):
        duel.step()


def test_a_bot_refuses_a_match_of_another_length() -> None:
    with pytest.raises(ValueError, match="made for matches of 60 rounds, not 1000"):
        POPULATION["randbot"](0, 0).act(ActionHistory(1000).observation)


def test_a_bot_refuses_to_skip_or_repeat_a_round() -> None:
    bot = POPULATION["rotatebot"](0, 0)
    view = ActionHistory(ROUNDS)
    bot.act(view.observation)
    with pytest.raises(ValueError, match="at round 1 of 60, not at round 0"):
        bot.act(view.observation)


def test_the_bot_reads_its_own_seat() -> None:
    """copybot throws what beats the opponent's last throw, from either seat."""
    for seat in (0, 1):
        bot = POPULATION["copybot"](seat, 0)
        view = ActionHistory(ROUNDS)
        view.extend(int(bot.act(view.observation)), 2)  # type: ignore[call-overload]
        assert bot.act(view.observation) == 0


def test_factories_travel_to_other_processes() -> None:
    factory = pickle.loads(pickle.dumps(POPULATION["randbot"]))
    assert isinstance(factory(0, 1), RoshamboPolicy)


def test_a_fresh_process_replays_the_same_throws() -> None:
    code = (
        "from games.core import ActionHistory\n"
        "from games.roshambo import roshambo_population\n"
        "bot, view = roshambo_population(60)['randbot'](0, 11), ActionHistory(60)\n"
        "for _ in range(60): view.extend(bot.act(view.observation), 0)\n"
        "print(view.mine)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(_throws(11))


def test_without_private_streams_matches_are_still_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A libc without initstate and setstate: a warning, and bots on one shared stream."""

    class NoSuchLibrary:
        def __init__(self, libc: object) -> None:
            raise AttributeError("initstate")

    roshambo._libc_random.cache_clear()
    monkeypatch.setattr(roshambo, "_LibcRandom", NoSuchLibrary)
    try:
        with pytest.warns(UserWarning, match="not reproducible"):
            throws = _throws(3)
        assert set(throws) == {0, 1, 2}
        returns = play_match(RepeatedRPS(ROUNDS), [POPULATION["greenberg"], POPULATION["rockbot"]], 0)
        assert returns[0] > ROUNDS / 2
    finally:
        roshambo._libc_random.cache_clear()


def test_threads_do_not_mix_their_streams() -> None:
    expected = [_throws(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(_throws, range(8))) == expected
