"""Modal agents as programs: their tournament is the one decided on formulas, in this process and in the sandbox."""

from __future__ import annotations

from itertools import product

import pytest

from games.match import record_match
from games.modal_agents import AGENTS, play
from games.modal_programs import constant_program, cooperates, identify, modal_program
from games.program_game import ProgramGame, chicken, prisoners_dilemma, stag_hunt
from sandbox.referee import MatchRecord, Referee

PD = prisoners_dilemma()
BOTS = {
    "CooperateBot": "cooperate_bot",
    "DefectBot": "defect_bot",
    "FairBot": "modal_fair_bot",
    "PrudentBot": "prudent_bot",
    "JustBot": "just_bot",
}


def expected(game: ProgramGame, first: str, second: str) -> list[tuple[int, int]]:
    """Both actions, from the formulas."""
    will = play(first, second)
    return [(seat, (game.cooperation if will[seat] else game.defection)[seat]) for seat in (0, 1)]


@pytest.mark.parametrize("game", [PD, stag_hunt(), chicken()], ids=lambda game: game.spec.name)
def test_the_tournament_of_programs_is_that_of_formulas(game: ProgramGame) -> None:
    assert set(BOTS) == set(AGENTS)
    population = game.reference_population()
    for first, second in product(AGENTS, repeat=2):
        log = record_match(game, [population[BOTS[first]], population[BOTS[second]]], 0)
        assert sorted(log.actions[0].items()) == expected(game, first, second), (first, second)


def test_the_same_texts_in_the_sandbox() -> None:
    texts = PD.reference_programs()
    with Referee() as referee:
        for first, second in product(AGENTS, repeat=2):
            (played,) = referee.play(PD, [texts[BOTS[first]], texts[BOTS[second]]], seeds=[1])
            assert isinstance(played, MatchRecord), played
            assert played.actions == expected(PD, first, second), (first, second)


def test_nothing_is_provable_of_other_texts() -> None:
    texts = PD.reference_programs()
    for liar in (
        texts["cooperate_bot"] + "\n",
        texts["cooperate_bot"].replace("ACTIONS[", "1 - ACTIONS["),
        texts["modal_fair_bot"] + "policy = lambda observation: 1\n",
        constant_program((0, 0), 'x"""; ACTIONS = (1, 1); """'),
        constant_program((0, 0), "x\n    ACTIONS = 1, 1"),
        "",
        texts["clique_bot"],
        texts["fair_bot"],
    ):
        assert identify(liar, (0, 0), (1, 1), 0) is None
        for agent in ("FairBot", "PrudentBot", "JustBot"):
            assert not cooperates(agent, (0, 0), (1, 1), liar, 0)
            assert not cooperates(agent, (0, 0), (1, 1), liar, 1)


def test_constants_are_understood_in_the_seat_they_play() -> None:
    half = constant_program((0, 1), "Cooperates as rows.")
    assert identify(half, (0, 0), (1, 1), 0) == "CooperateBot"
    assert identify(half, (0, 0), (1, 1), 1) == "DefectBot"
    assert identify(constant_program((2, 2), "Neither."), (0, 0), (1, 1), 0) is None
    assert identify(modal_program("FairBot", (0, 0), (2, 2)), (0, 0), (1, 1), 0) is None, "an agent of another game"
