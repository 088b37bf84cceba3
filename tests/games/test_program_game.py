from __future__ import annotations

import numpy as np
import pytest

from games.core import FloatArray
from games.match import record_match, with_program_sources
from games.matrix import climbing, vanilla
from games.program_game import ProgramGame, TrustedProgram, chicken, prisoners_dilemma, program_bimatrix, stag_hunt
from games.registry import game_names, make_game
from games.seeds import match_seed
from games.simulation import (
    MAX_DEPTH,
    ProgramFailedError,
    Simulated,
    SimulationFuel,
    SimulationLimits,
    SimulationService,
    TrustedRunner,
    UntrustedSourceError,
)
from sandbox.referee import MatchRecord, play

PD = prisoners_dilemma()
C, D = 0, 1


def population(game: ProgramGame = PD) -> dict[str, TrustedProgram]:
    programs = dict(game.reference_population())
    assert all(isinstance(program, TrustedProgram) for program in programs.values())
    return programs  # type: ignore[return-value]


def returns(first: TrustedProgram, second: TrustedProgram, matches: int) -> FloatArray:
    return np.array([record_match(PD, [first, second], match_seed(0, i)).returns for i in range(matches)])


# --- fuel ------------------------------------------------------------------------------------------------------------
def test_fuel_counts_calls_of_all_depths() -> None:
    fuel = SimulationFuel(SimulationLimits(max_calls=3, max_depth=2))
    assert fuel.enter() and fuel.enter()
    assert not fuel.enter(), "too deep"
    fuel.leave()
    assert fuel.enter()
    fuel.leave()
    assert not fuel.enter(), "three calls are spent, though there is room in depth"
    fuel.leave()
    assert not fuel.enter()
    assert (fuel.calls, fuel.depth, fuel.deepest, fuel.refused) == (3, 0, 2, 3)


def test_leaving_what_was_not_entered_is_an_error() -> None:
    fuel = SimulationFuel(SimulationLimits(max_calls=0))
    assert not fuel.enter()
    with pytest.raises(RuntimeError):
        fuel.leave()


@pytest.mark.parametrize("values", [{"max_calls": -1}, {"max_depth": MAX_DEPTH + 1}, {"max_depth": 1.5}])
def test_impossible_limits_are_told(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        SimulationLimits(**values)


# --- the service -----------------------------------------------------------------------------------------------------
def test_a_simulation_sees_the_game_from_the_other_seat_with_a_seed_of_its_own() -> None:
    seen: list[Simulated] = []

    def run(program: Simulated) -> object:
        seen.append(program)
        return C

    service = SimulationService(PD, seed=7, run=run)
    assert [service.for_seat(0)("them", "me") for _ in range(2)] == [C, C]
    assert seen[0].observation == PD.observation(1, "them", "me")
    assert (seen[0].source, seen[0].player) == ("them", 1)
    assert seen[0].seed != seen[1].seed
    again: list[int] = [program.seed for program in seen]
    seen.clear()
    repeated = SimulationService(PD, seed=7, run=run).for_seat(0)
    repeated("them", "me"), repeated("them", "me")
    assert [program.seed for program in seen] == again


def test_nested_simulations_alternate_seats_and_share_the_fuel() -> None:
    game = prisoners_dilemma(max_calls=5)
    seats: list[int] = []

    def run(program: Simulated) -> object:
        seats.append(program.player)
        return program.simulate("deeper", "me")

    service = SimulationService(game, 1, run)
    assert service.for_seat(0)("them", "me") == D
    assert seats == [1, 0, 1, 0, 1]
    assert (service.fuel.calls, service.fuel.depth, service.fuel.deepest, service.fuel.refused) == (5, 0, 5, 1)


def failing(_: Simulated) -> object:
    raise ProgramFailedError("it raised")


@pytest.mark.parametrize("run", [failing, lambda _: 2, lambda _: [0.5, 0.6], lambda _: "cooperate"])
def test_a_program_that_fails_counts_as_defecting(run: object) -> None:
    service = SimulationService(PD, 1, run)  # type: ignore[arg-type]
    assert service.for_seat(0)("them", "me") == D
    assert service.fuel.depth == 0


def test_distributions_are_sampled() -> None:
    simulate = SimulationService(PD, 1, lambda _: [0.25, 0.75]).for_seat(0)
    drawn = [simulate("them", "me") for _ in range(256)]
    assert 0.65 < np.mean(drawn) < 0.85


def test_a_foreign_text_never_runs_in_this_process() -> None:
    foreign = "raise SystemExit\n"
    fair = population()["fair_bot"]
    policies = [fair(0, seed) for seed in range(50)]
    with pytest.raises(UntrustedSourceError):
        for policy in policies:
            policy.act(PD.observation(0, fair.program_source, foreign))


def test_a_bound_runner_runs_what_the_referee_says() -> None:
    runs: list[str] = []
    trusted = TrustedRunner(PD.reference_programs().values())

    def run(program: Simulated) -> object:
        runs.append(program.source)
        return C if program.source == "foreign" else trusted(program)

    fair = population()["fair_bot"].with_runner(run)
    assert {fair(0, seed).act(PD.observation(0, fair.program_source, "foreign")) for seed in range(30)} == {C}
    assert set(runs) == {"foreign"}


# --- the Prisoner's Dilemma ------------------------------------------------------------------------------------------
def test_clique_bot_knows_its_own_text_only() -> None:
    bots = population()
    assert returns(bots["clique_bot"], bots["clique_bot"], 1).tolist() == [[3, 3]]
    assert returns(bots["clique_bot"], bots["cooperate_bot"], 1).tolist() == [[5, 0]]
    assert returns(bots["clique_bot"], bots["fair_bot"], 200)[:, 0].mean() == pytest.approx(1.4, abs=0.35)


@pytest.mark.parametrize(
    ("opponent", "expected"),
    [("cooperate_bot", (3.0, 3.0)), ("defect_bot", (0.9, 1.4)), ("clique_bot", (0.9, 1.4)), ("fair_bot", (3.0, 3.0))],
)
def test_the_grounded_fair_bot(opponent: str, expected: tuple[float, float]) -> None:
    bots = population()
    found = returns(bots["fair_bot"], bots[opponent], 400)
    error = found.std(axis=0) / len(found) ** 0.5
    assert (np.abs(found.mean(axis=0) - expected) <= 3 * error + 1e-12).all()


def test_fair_bots_need_few_simulations() -> None:
    """Each seat's chain goes on with probability 1 - epsilon: (1 - epsilon) / epsilon = 9 calls on average."""
    fair = population()["fair_bot"]
    calls = []
    for seed in range(300):
        policy = fair(0, seed)
        assert policy.act(PD.observation(0, fair.program_source, fair.program_source)) == C
        calls.append(policy.simulations.fuel.calls)
        assert policy.simulations.fuel.refused == 0
    assert abs(np.mean(calls) - 9) < 4 * np.std(calls) / len(calls) ** 0.5


def test_an_ungrounded_fair_bot_runs_out_of_fuel_and_defects() -> None:
    text = 'def policy(seen):\n    return simulate(seen["opponent_source"], seen["my_source"])\n'
    bot = TrustedProgram(PD, text, TrustedRunner([text]))
    log = record_match(PD, [bot, bot], 0)
    assert log.returns.tolist() == [1, 1]
    policy = bot(0, 0)
    policy.act(PD.observation(0, text, text))
    fuel = policy.simulations.fuel
    assert (fuel.calls, fuel.deepest, fuel.refused) == (MAX_DEPTH, MAX_DEPTH, 1)


def test_a_program_may_be_probed_against_another_text() -> None:
    texts = PD.reference_programs()
    simulate = SimulationService(PD, 3, TrustedRunner(texts.values())).for_seat(0)
    assert simulate(texts["clique_bot"], texts["clique_bot"]) == C
    assert simulate(texts["clique_bot"], texts["defect_bot"]) == D


# --- every bimatrix game ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("game", "cooperation", "defection"),
    [
        (PD, (0, 0), (1, 1)),
        (stag_hunt(), (0, 0), (1, 1)),
        (chicken(), (0, 0), (1, 1)),
        (program_bimatrix(), (0, 0), (0, 1)),
        (ProgramGame(vanilla()), (2, 2), (1, 1)),
        (ProgramGame(climbing()), (0, 0), (2, 2)),
        (program_bimatrix([[1, 2, 3], [0, 5, 0]], [[0, 0, 0], [1, 1, 1]]), (1, 1), (0, 0)),
    ],
)
def test_cooperation_and_defection(game: ProgramGame, cooperation: tuple[int, int], defection: tuple[int, int]) -> None:
    assert (game.cooperation, game.defection) == (cooperation, defection)
    bots = population(game)
    log = record_match(game, [bots["clique_bot"]] * 2, 0)
    assert log.returns.tolist() == [game.matrix.row[cooperation], game.matrix.column[cooperation]]
    log = record_match(game, [bots["clique_bot"], bots["defect_bot"]], 0)
    assert log.returns.tolist() == [game.matrix.row[defection], game.matrix.column[defection]]


def test_both_players_see_both_texts() -> None:
    bots = population()
    bound = with_program_sources(PD, ["the first", bots["defect_bot"]])
    pending = bound.new_episode(np.random.default_rng(0)).pending()
    texts = "the first", bots["defect_bot"].program_source
    assert (pending[0]["my_source"], pending[0]["opponent_source"]) == texts
    assert (pending[1]["opponent_source"], pending[1]["my_source"]) == texts
    assert with_program_sources(vanilla(), ["a", "b"]).spec == vanilla().spec


def test_reference_texts_without_simulations_play_in_the_sandbox() -> None:
    texts = PD.reference_programs()
    clique, nice = texts["clique_bot"], texts["cooperate_bot"]
    for pair, expected in {(clique, clique): (3.0, 3.0), (clique, nice): (5.0, 0.0)}.items():
        (outcome,) = play(with_program_sources(PD, pair), list(pair), seeds=[1])
        assert isinstance(outcome, MatchRecord), outcome
        assert outcome.returns == expected


def test_names() -> None:
    assert {"program_pd", "program_stag_hunt", "program_chicken", "program_bimatrix"} <= set(game_names())
    assert make_game("program_prisoners_dilemma", temptation=4.0).spec.return_range == (0.0, 4.0)


def test_bad_parameters_are_told() -> None:
    with pytest.raises(ValueError, match="temptation > reward"):
        prisoners_dilemma(temptation=2.0)
    with pytest.raises(ValueError, match="epsilon"):
        chicken(epsilon=0.0)
    with pytest.raises(ValueError, match="played once"):
        ProgramGame(vanilla(num_rounds=2))
