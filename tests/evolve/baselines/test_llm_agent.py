"""The LLM agent: its exact prompt, how it reads answers, its best response, and matches against a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from evolve.baselines.llm_agent import LLMAgent, Stage, play_match
from evolve.llm.core import Completion, Prompt
from games.core import Observation
from games.registry import make_game
from games.repeated_rps import RepeatedRPS

GAME = RepeatedRPS(12)
R, P, S = 0, 1, 2


def rps() -> Stage:
    stage = Stage.of(GAME)
    assert stage is not None
    return stage


class Scripted:
    """Answers by the prompt; keeps what it was asked."""

    model = "scripted"

    def __init__(self, answer: Callable[[Prompt], str]) -> None:
        self._answer = answer
        self.asked: list[Prompt] = []

    async def complete(self, prompt: Prompt) -> Completion:
        self.asked.append(prompt)
        return Completion(self._answer(prompt), self.model, 1, 1, 0.0, 0.0)


class Recorder:
    """Plays a cycle and keeps what it saw the other do."""

    def __init__(self, cycle: Sequence[int]) -> None:
        self._cycle = cycle
        self.saw: Sequence[int] = ()

    def __call__(self, player: int, seed: int) -> Recorder:
        return self

    def act(self, observation: Observation) -> int:
        self.saw = observation["opponent_actions"]  # type: ignore[assignment]
        return self._cycle[len(self.saw) % len(self._cycle)]


def match(model: Scripted, opponent: Recorder, seat: int = 0, seed: int = 1) -> tuple[float, LLMAgent]:
    agent = LLMAgent(model, rps(), "rockbot, match 0", temperature=0.5)
    return asyncio.run(play_match(GAME, agent, opponent, seed, seat)), agent


def test_the_prompt_is_a_header_and_a_line_for_each_round() -> None:
    agent = LLMAgent(Scripted(str), rps(), "rockbot, match 3", temperature=0.5)
    assert agent.prompt([R, P, S], [P, P, R]) == Prompt(
        system="",
        user=(
            "Predict what the opponent plays next in repeated rock-paper-scissors; answer with one of R, P, S and "
            "nothing else. The rounds so far, oldest first, as own,opponent:\n"
            "R,P\n"
            "P,P\n"
            "S,R\n"
        ),
        temperature=0.5,
        max_output_tokens=16,
        sample="rockbot, match 3, round 3",
    )


def test_a_prompt_begins_with_the_one_before_it() -> None:
    agent = LLMAgent(Scripted(str), rps(), "", temperature=0.0)
    shorter, longer = agent.prompt([R, P], [P, P]).user, agent.prompt([R, P, S], [P, P, R]).user
    assert longer.startswith(shorter) and len(longer) == len(shorter) + len("S,R\n")


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        *(("R", R), ("p", P), ("S\n", S), ("0", R), ("1", P), ("2", S)),
        *(("Rock.", R), ("**Paper**", P), ("_scissors_", S), ("'R'", R), ('"S"', S), ("opponent: P", P)),
        *(("S, then R", S), ("2 or R", R), ("after 2 rounds, P", P), ("2.", S), ("they play paper", P), ("R,P", R)),
        *((text, None) for text in ("", "it's unclear", "it\u2019s", "3", "10", "Spock", "I cannot say")),
    ],
)
def test_the_first_action_that_stands_alone_is_read(answer: str, action: int | None) -> None:
    assert rps().read(answer) == action


def test_the_best_response_is_by_the_stage_of_the_game() -> None:
    assert [rps().best_response(action) for action in (R, P, S)] == [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    # Against 1 both 0 and 2 earn most.
    stage = Stage("a game", ("0", "1", "2"), ((1.0, 5.0, 0.0), (2.0, 0.0, 0.0), (0.0, 5.0, 0.0)))
    assert stage.best_response(1) == [0.5, 0.0, 0.5]
    assert stage.best_response(0) == [0.0, 1.0, 0.0]
    assert (stage.labels, stage.read("2"), stage.read("R")) == (("0", "1", "2"), 2, None)


def test_only_games_of_one_repeated_stage_are_played() -> None:
    assert Stage.of(make_game("repeated_leduc")) is None
    assert Stage.of(make_game("kuhn")) is None


@pytest.mark.parametrize("seat", [0, 1])
def test_right_predictions_win_every_round_but_the_first(seat: int) -> None:
    """The model says what comes next in the cycle; the first round is drawn, so it is won, lost or even."""
    cycle = (R, R, P, S)
    model = Scripted(lambda prompt: "RRPS"[(prompt.user.count("\n") - 1) % 4])
    opponent = Recorder(cycle)
    value, agent = match(model, opponent, seat)
    first = opponent.saw[0]
    assert value == 11 + (0, 1, -1)[(first - cycle[0]) % 3]
    assert list(opponent.saw[1:]) == [(cycle[t % 4] + 1) % 3 for t in range(1, 12)]
    assert (agent.calls, agent.unreadable) == (11, 0)
    assert [prompt.sample for prompt in model.asked] == [f"rockbot, match 0, round {t}" for t in range(1, 12)]
    own_first = [f"{'RPS'[own]},{'RPS'[theirs]}" for own, theirs in zip(opponent.saw[:11], cycle * 3, strict=False)]
    assert model.asked[-1].user.splitlines()[1:] == own_first


def test_an_unreadable_answer_is_played_at_random_from_the_seed_of_the_match() -> None:
    def throws(seed: int) -> list[int]:
        opponent = Recorder((R,))
        _, agent = match(Scripted(lambda prompt: "no idea"), opponent, seed=seed)
        assert (agent.calls, agent.unreadable) == (11, 11)
        return list(opponent.saw)

    assert throws(1) == throws(1) != throws(2)
    counts = np.bincount([throw for seed in range(30) for throw in throws(seed)], minlength=3)
    assert counts.min() > 80, "each third of 360 throws, give or take"


def test_only_the_first_round_asks_nobody() -> None:
    model = Scripted(lambda prompt: "S")
    match(model, Recorder((P,)))
    assert [prompt.user.count("\n") for prompt in model.asked] == list(range(2, 13))
