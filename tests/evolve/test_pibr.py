"""PIBR's driver on toy payoffs: Algorithm 1, its variants, robustness over starts, and runs cut short at any point."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from evolve.archive.memory import MemoryStore
from evolve.baselines.best_response_dynamics import best_actions, reached_from
from evolve.candidate import Candidate
from evolve.oracles.core import BestResponse, BestResponseTask, Response
from evolve.pibr import Pibr
from evolve.pibr_profile import ProfileMatch, ProfileMatches
from evolve.pibr_starts import action_counts, initial_profiles, pure_program
from evolve.pibr_state import PibrConfig, PibrIteration, PibrState, welfare_of
from evolve.program import Program
from evolve.scoring import OpponentReturn, Scored, ScoringTask
from games.core import Game
from games.registry import make_game
from sandbox.faults import Fault, FaultKind, Stage

CONFIG = PibrConfig(
    iterations=3, starts=9, order="alternating", initial="pure", matches=2, fresh_matches=2, welfare_matches=2, seed=1
)


def action_of(program: Program) -> int:
    return int(program.source.split("action = ")[1].split()[0])


def matrix_player(game: Game) -> Callable[[Sequence[Program], Sequence[int]], ProfileMatches]:
    def play(programs: Sequence[Program], seeds: Sequence[int]) -> ProfileMatches:
        episode = game.new_episode(np.random.default_rng(0))
        episode.step({seat: action_of(program) for seat, program in enumerate(programs)})
        match = ProfileMatch(tuple(map(float, episode.returns())), len(programs))
        return ProfileMatches((match,) * len(seeds))

    return play


@dataclass
class Player:
    rule: Callable[[Sequence[Program], Sequence[int]], ProfileMatches]
    asked: list[tuple[tuple[str, ...], tuple[int, ...]]] = field(default_factory=list)

    async def play(self, programs: Sequence[Program], seeds: Sequence[int]) -> ProfileMatches:
        await asyncio.sleep(0)
        self.asked.append((tuple(p.id for p in programs), tuple(seeds)))
        return self.rule(programs, seeds)


@dataclass
class Oracle:
    """Answers with the program that ``rule`` names, ``None`` for no answer; fails at task ``killed_at``."""

    rule: Callable[[BestResponseTask], Program | None]
    killed_at: int = -1
    tasks: list[BestResponseTask] = field(default_factory=list)

    async def respond(self, task: BestResponseTask) -> Response:
        if len(self.tasks) == self.killed_at:
            raise RuntimeError("killed")
        self.tasks.append(task)
        program = self.rule(task)
        if program is None:
            return Response(None, 1, {"runtime_error": 1})
        scored = Scored(1.0, 0.5, {"x": OpponentReturn(1.0, 0.5, 2)})
        return Response(BestResponse(Candidate(program, scored), scored), 1, {})


@dataclass
class Watcher:
    records: list[PibrIteration] = field(default_factory=list)

    def search_started(self, task: BestResponseTask, record: object) -> None:
        assert isinstance(record, PibrIteration)

    def search_ended(self, task: BestResponseTask, record: object) -> None:
        assert isinstance(record, PibrIteration)
        self.records.append(record)


def exact_reply(game: Game) -> Callable[[BestResponseTask], Program]:
    """A perfect oracle for two players; the lowest action of equals."""

    def reply(task: BestResponseTask) -> Program:
        ((other,),) = task.scoring.lineups().values()
        mixture = np.eye(3)[action_of(other)]
        return pure_program(best_actions(game, task.scoring.player, mixture)[0])  # type: ignore[arg-type]

    return reply


def driver(
    game: Game,
    oracle: Oracle,
    config: PibrConfig = CONFIG,
    store: MemoryStore | None = None,
    stop: Callable[[], str | None] = lambda: None,
    player: Player | None = None,
) -> Pibr:
    return Pibr(
        game,
        oracle,
        player or Player(matrix_player(game)),
        store or MemoryStore("run"),
        config,
        scoring=ScoringTask({}, {}, 1, 0),
        observer=Watcher(),
        llm_calls=lambda: 0,
        stop_reason=stop,
    )


def reached(state: PibrState) -> list[float | None]:
    """The best social welfare of each start, its initial profile aside."""
    return [
        max(r.welfare.mean for r in state.history if r.start == start and r.step > 0 and r.welfare.mean is not None)
        for start in range(len(state.profiles))
    ]


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("vanilla", {}, [4, 2, 6] * 3),
        ("climbing", {}, [22, 14, 14] * 3),
        ("climbing", {"form": "standard"}, [22, 14, 14] * 3),
        ("penalty", {}, [20, 4, 20] * 3),
        ("penalty", {"penalty": -0.5}, [20, 4, 20] * 3),
        ("penalty", {"form": "standard", "penalty": -100.0}, [20, 4, 20] * 3),
    ],
)
async def test_a_perfect_oracle_goes_where_best_response_dynamics_go(
    name: str, parameters: dict[str, object], expected: list[int]
) -> None:
    """games.md section 2: where the column player starts decides; climbing is stuck at 14 from six of nine starts."""
    game = make_game(name, **parameters)
    state = await driver(game, Oracle(exact_reply(game))).run()
    assert reached(state) == expected
    starts = initial_profiles(game, "pure", 9)
    exact = [reached_from(game, [np.eye(3)[action_of(p)] for p in profile], 3) for profile in starts]  # type: ignore[arg-type]
    assert exact == expected


async def test_agents_alternate_and_each_sees_the_others_program() -> None:
    game = make_game("climbing")
    oracle = Oracle(exact_reply(game))
    state = await driver(game, oracle, replace(CONFIG, starts=1, iterations=4)).run()
    assert [t.scoring.player for t in oracle.tasks] == [0, 1, 0, 1]
    assert [t.previous for t in oracle.tasks] == ["", "", "br-000", "br-001"]
    assert all(t.scoring.in_profile for t in oracle.tasks)
    for task, before in zip(oracle.tasks, state.history, strict=False):
        other = before.profile[1 - task.scoring.player]
        assert list(task.scoring.weights) == [other] == list(task.scoring.opponents)
        assert task.incumbents[0].id == before.profile[task.scoring.player]


async def test_the_profile_of_the_highest_welfare_in_the_history_is_returned_not_the_last() -> None:
    game = make_game("climbing")
    plan = iter([1, 1, 2, 0])  # (1, 0) -60, (1, 1) 14, (2, 1) 12, (2, 0) 0
    config = replace(CONFIG, starts=1, iterations=4)
    state = await driver(game, Oracle(lambda t: pure_program(next(plan))), config).run()
    assert [r.welfare.mean for r in state.history] == [22, -60, 14, 12, 0]
    best = state.best()
    assert best is not None and (best.step, best.welfare.mean) == (2, 14)  # the initial profile is not in H


async def test_without_an_answer_the_player_keeps_its_policy() -> None:
    game = make_game("vanilla")
    state = await driver(game, Oracle(lambda t: None), replace(CONFIG, starts=1)).run()
    assert {r.profile for r in state.history} == {state.history[0].profile}
    assert [r.best_response for r in state.iterations] == [None] * 3


async def test_profiles_meet_the_same_matches_and_the_searches_others() -> None:
    game = make_game("vanilla")
    player = Player(matrix_player(game))
    oracle = Oracle(exact_reply(game))
    await driver(game, oracle, replace(CONFIG, starts=2), player=player).run()
    assert len({seeds for _, seeds in player.asked}) == 1
    assert len({t.scoring.seed for t in oracle.tasks}) == len(oracle.tasks)


async def test_simultaneous_answers_are_to_the_same_profile() -> None:
    game = make_game("penalty")
    oracle = Oracle(exact_reply(game))
    state = await driver(game, oracle, replace(CONFIG, starts=1, order="simultaneous", iterations=2)).run()
    assert [t.scoring.player for t in oracle.tasks] == [0, 1, 0, 1]
    actions = [[action_of(state.pools[s][i].program) for s, i in enumerate(r.profile)] for r in state.history]
    assert actions == [[0, 0], [2, 2], [0, 0]]  # both miss each other for ever


async def test_asynchronous_players_are_drawn() -> None:
    game = make_game("Foraging-10x10-3p-3f-v3")
    oracle = Oracle(lambda t: pure_program(0))
    config = replace(CONFIG, starts=1, order="asynchronous", iterations=30, initial="seed")
    player = Player(lambda programs, seeds: ProfileMatches((ProfileMatch((0.0,) * 3, 30),) * len(seeds)))
    await driver(game, oracle, config, player=player).run()
    assert {t.scoring.player for t in oracle.tasks} == {0, 1, 2}
    assert all(len(next(iter(t.scoring.lineups().values()))) == 2 for t in oracle.tasks)


async def test_a_run_killed_at_any_response_goes_on_as_if_nothing_had_been() -> None:
    game = make_game("climbing")
    config = replace(CONFIG, starts=3, iterations=2, order="simultaneous")
    whole = await driver(game, Oracle(exact_reply(game)), config).run()
    for killed_at in range(12):
        store = MemoryStore("run")
        with pytest.raises(RuntimeError, match="killed"):
            await driver(game, Oracle(exact_reply(game), killed_at), config, store).run()
        state = await driver(game, Oracle(exact_reply(game)), config, store).run()
        assert [r.to_json() for r in state.history] == [r.to_json() for r in whole.history]
        assert [p.to_record() for p in state.pools] == [p.to_record() for p in whole.pools]
        assert state.responses == 12


async def test_a_budget_leaves_all_starts_equally_far() -> None:
    game = make_game("vanilla")
    oracle = Oracle(exact_reply(game))
    stop = lambda: "spent" if len(oracle.tasks) >= 18 else None  # noqa: E731
    state = await driver(game, oracle, replace(CONFIG, iterations=4), stop=stop).run()
    assert [max(r.step for r in state.history if r.start == s) for s in range(9)] == [2] * 9


def test_a_profile_with_a_failed_match_has_no_welfare() -> None:
    fault = Fault(FaultKind.TIMEOUT, Stage.MATCH, 1, "slow")
    welfare = welfare_of(make_game("vanilla"), ProfileMatches((ProfileMatch((3.0, 3.0), 2), fault)))
    assert welfare.mean is None and dict(welfare.failures) == {"player 1: timeout": 1}


def test_welfare_is_exact_in_one_shot_matrix_games_and_has_an_error_elsewhere() -> None:
    matches = (ProfileMatch((2.0, 2.0), 2), ProfileMatch((0.0, 0.0), 2))
    mixed = ((0.5, 0.5, 0.0), (1.0, 0.0, 0.0))
    exact = welfare_of(make_game("vanilla"), ProfileMatches(matches, mixed))
    assert (exact.mean, exact.stderr, exact.exact) == (2.0, 0.0, True)
    sampled = welfare_of(make_game("vanilla"), ProfileMatches(matches))
    assert (sampled.mean, sampled.stderr, sampled.exact) == (2.0, pytest.approx(2.0), False)


def test_foraging_figures_come_with_errors() -> None:
    game = make_game("foraging")
    done = ProfileMatch((0.5 - 0.1, 0.5 - 0.1), 10)  # an empty board after 5 of 50 steps
    idle = ProfileMatch((-1.0, -1.0), 100)
    drawn = np.random.default_rng(0).permutation([0, 1] * 200)
    details = welfare_of(game, ProfileMatches(tuple((done, idle)[k] for k in drawn))).details
    assert details["completion_rate"] == 0.5 and details["mean_steps"] == 27.5
    assert details["completion_rate_stderr"] == pytest.approx(0.5 / 20, rel=0.4)  # binomial, 400 matches
    assert details["efficiency"] == pytest.approx(5.4088 / 27.5, abs=1e-3)


def test_initial_profiles() -> None:
    game = make_game("vanilla")
    pure = [tuple(map(action_of, profile)) for profile in initial_profiles(game, "pure", 9)]
    assert pure == [(a, b) for a in range(3) for b in range(3)]
    seed = Program(game.brief.seed_program)
    assert initial_profiles(game, "seed", 2) == [(seed, seed)] * 2
    with pytest.raises(ValueError, match="9 pure profiles, too few for 10 starts"):
        initial_profiles(game, "pure", 10)
    assert action_counts(make_game("bimatrix", row=[[1, 0, 2], [0, 1, 0]])) == (2, 3)
    assert action_counts(make_game("foraging")) == (6, 6)


def test_ties_leave_the_dynamics_undecided() -> None:
    game = make_game("bimatrix", row=[[1, 1], [1, 1]], column=[[1, 1], [1, 1]])
    assert reached_from(game, [[1.0, 0.0], [1.0, 0.0]], 2) is None  # type: ignore[arg-type]
