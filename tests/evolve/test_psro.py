"""PSRO's driver: Algorithm 1 on games small enough to know the answer, resumed after a kill at any point."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.archive.memory import MemoryStore
from evolve.archive.store import Record
from evolve.candidate import Candidate
from evolve.meta_solvers import MetaStrategy, meta_solver
from evolve.oracles.core import BestResponse, BestResponseTask, Response
from evolve.payoffs import extra_matches
from evolve.program import Program
from evolve.psro import CHECKPOINT, IterationRecord, Psro, PsroConfig, PsroState
from evolve.scoring import Evaluation, Failed, OpponentReturn, Scored, ScoringTask
from games.core import Game
from games.registry import make_game

RPS = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
SYMMETRIC = make_game("repeated_rps", num_rounds=1)
TWO_SEATS = make_game("bimatrix")  # matching pennies; the toy scorer plays rock, paper, scissors all the same
_ACTION = re.compile(r"^action = (\d)$", re.MULTILINE)


def program(action: int) -> Program:
    return Program(f"action = {action}\n")


def action_of(program: Program) -> int:
    """The seed program of either game is taken to play 0."""
    found = _ACTION.findall(program.source)
    return int(found[0]) if found else 0


@dataclass
class MatrixScorer:
    """Exact returns; programs in ``failing`` fail, and call number ``killed`` never comes back."""

    matrix: np.ndarray
    failing: set[str] = field(default_factory=set)
    killed: int | None = None
    played: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    tasks: list[ScoringTask] = field(default_factory=list)

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        self.tasks.append(task)
        await asyncio.sleep(0)
        if self.killed is not None:
            self.killed -= 1
            if self.killed < 0:
                raise KilledError
        if program.id in self.failing:
            return Failed("match", "timeout", "Traceback\nline 1\nTimeoutError: too slow")
        results = {}
        for opponent in task.opponents.values():
            self.played[program.id, opponent.id, task.player] += 1
            value = float(self.matrix[action_of(program), action_of(opponent)])
            results[opponent.id] = OpponentReturn(value, 0.0, task.matches_per_opponent)
        return Scored(sum(task.weights[i] * r.mean for i, r in results.items()), 0.0, results)


class KilledError(Exception):
    """The process is gone."""


@dataclass
class ExactOracle:
    """The best action that is not in the pool; ``before`` is called with each task."""

    scorer: MatrixScorer
    tasks: list[BestResponseTask] = field(default_factory=list)
    before: Callable[[BestResponseTask], None] = lambda task: None

    async def respond(self, task: BestResponseTask) -> Response:
        self.tasks.append(task)
        self.before(task)
        programs = [p for p in map(program, range(3)) if p.id not in task.taken]
        scored = [(p, await self.scorer.score(p, task.scoring)) for p in programs]
        if not scored:
            return Response(None, 0, {})
        best, evaluation = max(scored, key=lambda pair: pair[1].mean_return)  # type: ignore[union-attr]
        assert isinstance(evaluation, Scored)
        return Response(BestResponse(Candidate(best, evaluation), evaluation), len(programs), {"timeout": 1})


class Watcher:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def search_started(self, task: BestResponseTask, record: IterationRecord) -> None:
        self.seen.append(("started", task.task_id))

    def search_ended(self, task: BestResponseTask, record: IterationRecord) -> None:
        self.seen.append(("ended", task.task_id))


def driver(
    game: Game,
    oracle: ExactOracle,
    store: MemoryStore,
    iterations: int = 3,
    stop: Callable[[], str | None] = lambda: None,
    watcher: Watcher | None = None,
    scorer: MatrixScorer | None = None,
    strict: bool = False,
    solver: str = "nash",
    top_up: int = 0,
) -> Psro:
    return Psro(
        game,
        oracle,
        scorer or oracle.scorer,
        meta_solver(solver),
        store,
        PsroConfig(
            iterations=iterations,
            matches=2,
            fresh_matches=4,
            payoff_matches=6,
            seed=1,
            strict_payoffs=strict,
            top_up_matches=top_up,
        ),
        scoring=ScoringTask({}, {}, 1, 0),
        observer=watcher or Watcher(),
        llm_calls=lambda: len(oracle.tasks),
        stop_reason=stop,
    )


def shares(meta: MetaStrategy, state: PsroState, player: int = 0) -> dict[int, float]:
    """The meta-strategy by action; the seed program plays 0."""
    weights: Counter[int] = Counter()
    for i, weight in meta.support(player).items():
        weights[action_of(state.pools[player][i].program)] += weight  # type: ignore[assignment]
    return dict(weights)


async def test_rock_paper_scissors_is_solved_when_all_three_are_there() -> None:
    oracle, watcher = ExactOracle(MatrixScorer(RPS)), Watcher()
    psro = driver(SYMMETRIC, oracle, MemoryStore("run"), watcher=watcher)
    meta = await psro.run()
    assert shares(meta, psro.state) == pytest.approx({0: 1 / 3, 1: 1 / 3, 2: 1 / 3})
    assert meta.value == pytest.approx(0.0, abs=1e-9)
    assert [action_of(p.program) for p in psro.state.pools[0]][:3] == [0, 1, 2]  # paper beats rock, scissors paper
    assert watcher.seen == [(what, f"br-{k:03d}") for k in range(3) for what in ("started", "ended")]
    assert [s["iteration"] for s in psro.state.solved] == [0, 1, 2, 3]


async def test_no_pair_is_played_twice_and_the_diagonal_never() -> None:
    scorer = MatrixScorer(RPS)
    await driver(SYMMETRIC, ExactOracle(MatrixScorer(RPS)), MemoryStore("run"), scorer=scorer).run()
    pairs = [tuple(sorted((a, b))) for a, b, _ in scorer.played.elements()]
    assert len(pairs) == len(set(pairs)) == 4 * 3 // 2
    assert all(a != b for a, b in pairs)


@pytest.mark.parametrize("strict", [True, False])
async def test_strict_payoffs_are_asked_for_strictly_and_kept_apart(strict: bool) -> None:
    scorer, store = MatrixScorer(RPS), MemoryStore("run")
    await driver(SYMMETRIC, ExactOracle(MatrixScorer(RPS)), store, iterations=1, scorer=scorer, strict=strict).run()
    assert scorer.tasks and all(task.strict is strict for task in scorer.tasks)
    other = MatrixScorer(RPS)
    store.save("psro", driver(SYMMETRIC, ExactOracle(MatrixScorer(RPS)), MemoryStore("new")).state.to_record())
    await driver(SYMMETRIC, ExactOracle(MatrixScorer(RPS)), store, iterations=1, scorer=other, strict=not strict).run()
    assert len(other.tasks) == len(scorer.tasks), "payoffs of the other kind were taken"


async def test_what_a_task_asks_for() -> None:
    oracle = ExactOracle(MatrixScorer(RPS))
    psro = driver(SYMMETRIC, oracle, MemoryStore("run"))
    await psro.run()
    for number, asked in enumerate(oracle.tasks):
        pool = psro.state.pools[0].ids[: number + 1]
        assert asked.taken == frozenset(pool)
        assert [p.id for p in asked.incumbents[1:]] == list(pool)
        assert sum(asked.scoring.weights.values()) == pytest.approx(1.0)
        assert asked.scoring.opponents.keys() == asked.scoring.weights.keys() <= set(pool)
        assert (asked.scoring.matches_per_opponent, asked.fresh_matches_per_opponent) == (2, 4)
    seeds = [s for t in oracle.tasks for s in (t.seed, t.fresh_seed, t.scoring.seed)]
    assert len(set(seeds)) == len(seeds)


async def test_two_populations_answer_in_turn() -> None:
    oracle = ExactOracle(MatrixScorer(RPS))
    psro = driver(TWO_SEATS, oracle, MemoryStore("run"), iterations=2)
    assert len(psro.state.pools) == 2
    await psro.run()
    assert [t.scoring.player for t in oracle.tasks] == [0, 1, 0, 1]
    assert [r.player for r in psro.state.iterations] == [0, 1, 0, 1]
    assert [r.iteration for r in psro.state.iterations] == [1, 1, 2, 2]
    assert [len(pool) for pool in psro.state.pools] == [3, 3]
    assert [p.name for p in psro.state.pools[1]] == ["seed", "br-1-p1", "br-2-p1"]


async def test_an_oracle_without_an_answer_adds_nothing() -> None:
    psro = driver(SYMMETRIC, ExactOracle(MatrixScorer(RPS)), MemoryStore("run"), iterations=5)
    await psro.run()
    assert len(psro.state.pools[0]) == 4  # the seed program and the three there are
    assert [r.best_response is None for r in psro.state.iterations] == [False, False, False, True, True]


async def test_a_reason_to_stop_ends_it_with_all_it_has() -> None:
    oracle = ExactOracle(MatrixScorer(RPS))
    psro = driver(SYMMETRIC, oracle, MemoryStore("run"), stop=lambda: "spent" if len(oracle.tasks) == 1 else None)
    meta = await psro.run()
    assert shares(meta, psro.state) == {1: 1.0}
    assert len(psro.state.iterations) == 1


@settings(max_examples=30, deadline=None)
@given(killed=st.integers(0, 30), two=st.booleans())
def test_a_killed_run_goes_on_where_it_was(killed: int, two: bool) -> None:
    game = TWO_SEATS if two else SYMMETRIC
    undisturbed = driver(game, ExactOracle(MatrixScorer(RPS)), MemoryStore("run"), iterations=2)
    expected = asyncio.run(undisturbed.run())
    store = MemoryStore("run")
    with suppress(KilledError):
        asyncio.run(driver(game, ExactOracle(MatrixScorer(RPS, killed=killed)), store, iterations=2).run())
    second = driver(game, ExactOracle(MatrixScorer(RPS)), store, iterations=2)
    assert asyncio.run(second.run()) == expected
    assert untimed(second.state) == untimed(undisturbed.state)


def untimed(state: PsroState) -> Record:
    """Without wall time, and without LLM calls, which the toy oracle of a new process counts from 0."""
    record = dict(state.to_record())
    record["iterations"] = [{**r.to_json(), "wall_s": 0, "llm_calls": 0} for r in state.iterations]
    return record


async def test_the_checkpoint_reads_back() -> None:
    store = MemoryStore("run")
    psro = driver(SYMMETRIC, ExactOracle(MatrixScorer(RPS)), store)
    await psro.run()
    record = store.load(CHECKPOINT)
    assert record is not None
    assert PsroState.from_record(record).to_record() == psro.state.to_record()


async def test_llm_calls_of_a_search_include_those_before_a_kill() -> None:
    def kill(task: BestResponseTask) -> None:
        raise KilledError

    store, oracle = MemoryStore("run"), ExactOracle(MatrixScorer(RPS), before=kill)
    with pytest.raises(KilledError):
        await driver(SYMMETRIC, oracle, store, iterations=1).run()
    oracle.before = lambda task: None
    again = driver(SYMMETRIC, oracle, store, iterations=1)
    await again.run()
    assert again.state.iterations[0].llm_calls == 2


async def test_a_pool_member_that_fails_against_another_loses_all_there_is() -> None:
    scorer, store = MatrixScorer(RPS), MemoryStore("run")
    psro = driver(SYMMETRIC, ExactOracle(MatrixScorer(RPS)), store, iterations=1, scorer=scorer)
    seed_program = psro.state.pools[0].ids[0]
    scorer.failing.update((seed_program, program(1).id))
    await psro.run()
    payoffs = psro.state.game.payoff_matrix()
    assert payoffs[0, 1] == SYMMETRIC.spec.return_range[0]
    forfeits = [e for e in store.events() if e["type"] == "forfeit"]
    assert [(e["program"], e["fault"]) for e in forfeits] == [(seed_program, "timeout")]


@dataclass
class ThreePlayerScorer:
    """Each player wants to play what the next one plays (mod 3), and all earn 1 more if player 0 plays 2."""

    tasks: list[ScoringTask] = field(default_factory=list)

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        self.tasks.append(task)
        await asyncio.sleep(0)
        results = {}
        for key, others in task.lineups().items():
            profile = [*others[: task.player], program, *others[task.player :]]
            actions = [action_of(p) for p in profile]
            value = float(actions[task.player] == actions[(task.player + 1) % 3]) + (actions[0] == 2)
            results[key] = OpponentReturn(value, 0.1, task.matches_per_opponent)
        return Scored(sum(task.weights[k] * r.mean for k, r in results.items()), 0.0, results)


@pytest.mark.parametrize(
    "solver", ["regret_matching", "fictitious_play", "replicator_dynamics", "uniform", "alpha_rank"]
)
async def test_three_players_have_a_population_each(solver: str) -> None:
    game, scorer = make_game("openspiel:kuhn_poker", players=3), ThreePlayerScorer()
    oracle = ExactOracle(scorer)  # type: ignore[arg-type]
    psro = driver(game, oracle, MemoryStore("run"), iterations=2, solver=solver)
    meta = await psro.run()
    assert [len(pool) for pool in psro.state.pools] == [3, 3, 3]
    assert [t.scoring.player for t in oracle.tasks] == [0, 1, 2, 0, 1, 2]
    assert [p.name for p in psro.state.pools[2]] == ["seed", "br-1-p2", "br-2-p2"]
    assert psro.state.game.payoff_matrix(2).shape == (3, 3, 3)
    assert not np.isnan(psro.state.game.payoff_matrix(1)).any()
    last = oracle.tasks[-1].scoring
    assert all(len(key.split("+")) == 2 for key in last.weights)
    assert sum(last.weights.values()) == pytest.approx(1.0)
    assert len(meta.weights) == len(meta.values) == 3
    # The first answer of player 0 to two players of action 0: also 0, or 2 for the bonus of 1; both earn 1.
    assert oracle.tasks[0].scoring.opponents.keys() == {psro.state.pools[1].ids[0]}


async def test_a_three_player_run_killed_anywhere_plays_no_profile_twice() -> None:
    game, store = make_game("openspiel:kuhn_poker", players=3), MemoryStore("run")

    class Mortal(ThreePlayerScorer):
        async def score(self, program: Program, task: ScoringTask) -> Evaluation:
            if len(self.tasks) == 20:
                raise KilledError
            return await super().score(program, task)

    first, second = Mortal(), ThreePlayerScorer()
    with suppress(KilledError):
        await driver(game, ExactOracle(ThreePlayerScorer()), store, 2, scorer=first, solver="uniform").run()  # type: ignore[arg-type]
    await driver(game, ExactOracle(ThreePlayerScorer()), store, 2, scorer=second, solver="uniform").run()  # type: ignore[arg-type]
    played = Counter((t.player, tuple(t.weights), t.seed) for t in [*first.tasks, *second.tasks])
    assert set(played.values()) == {1}


# -- top-up ------------------------------------------------------------------------------------------------------------


@dataclass
class NoisyScorer(MatrixScorer):
    """Estimates off by ``noise``, whose standard error is 1 a match."""

    noise: float = 0.4

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        exact = await super().score(program, task)
        assert isinstance(exact, Scored)
        rng = np.random.default_rng([task.seed, action_of(program)])
        rows = {
            i: OpponentReturn(
                r.mean + self.noise * rng.normal() / r.matches**0.5, self.noise / r.matches**0.5, r.matches
            )
            for i, r in exact.by_opponent.items()
        }
        return Scored(sum(task.weights[i] * r.mean for i, r in rows.items()), 0.0, rows)


async def topped(top_up: int, store: MemoryStore | None = None, killed: int | None = None) -> tuple[Psro, NoisyScorer]:
    scorer = NoisyScorer(RPS, killed=killed)
    oracle = ExactOracle(MatrixScorer(RPS))
    psro = driver(SYMMETRIC, oracle, store or MemoryStore("run"), scorer=scorer, top_up=top_up)
    await psro.run()
    return psro, scorer


async def test_matches_are_added_where_noise_may_change_the_mixture_and_only_there() -> None:
    psro, _ = await topped(60)
    game = psro.state.game
    assert extra_matches(game, 6) > 0
    assert extra_matches(game, 6) <= 60 * 4
    plain, _ = await topped(0)
    assert extra_matches(plain.state.game, 6) == 0
    wrong = [np.abs(p.state.game.payoff_matrix() - exact_matrix(p)).sum() for p in (psro, plain)]
    assert wrong[0] < wrong[1]


def exact_matrix(psro: Psro) -> np.ndarray:
    actions = [action_of(policy.program) for policy in psro.state.pools[0]]
    return RPS[np.ix_(actions, actions)]


@pytest.mark.parametrize("killed", range(3, 60, 5))
async def test_a_top_up_killed_anywhere_ends_the_same(killed: int) -> None:
    undisturbed, alone = await topped(60)
    store = MemoryStore("run")
    with suppress(KilledError):
        await topped(60, store, killed)
    again, _ = await topped(60, store)
    assert untimed(again.state) == untimed(undisturbed.state)
    assert len(alone.tasks) > 6


async def test_exact_payoffs_are_never_topped_up() -> None:
    psro = driver(SYMMETRIC, ExactOracle(MatrixScorer(RPS)), MemoryStore("run"), top_up=600)
    await psro.run()
    assert extra_matches(psro.state.game, 6) == 0
