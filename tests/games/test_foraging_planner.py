from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from games import foraging_planner
from games.core import Observation
from games.foraging import PAPER_TASK, foraging
from games.foraging_core import NUM_ACTIONS, ForagingBoard, ForagingTask, crowded, interior
from games.foraging_optimum import fewest_steps, optimum
from games.foraging_planner import UNREACHABLE, program_text, steps_to_finish
from games.match import record_match
from games.seeds import episode_rng, match_seed
from sandbox.referee import MatchRecord, play

Pair = tuple[int, int]


def brute_force(size: int, foods: frozenset[int]) -> dict[Pair, int]:
    """Fewest steps from every pair of cells, by trying all joint actions on the game's own board until nothing
    improves. Knows nothing of the planner."""
    task = ForagingTask(size, 2, 2, cooperative=True)
    smaller = {food: brute_force(size, foods - {food}) for food in foods} if len(foods) > 1 else {}
    free = [cell for cell in range(size**2) if cell not in foods]
    best: dict[Pair, int] = {}
    moves: dict[Pair, set[Pair]] = {}
    for first, second in product(free, free):
        if first == second:
            continue
        moves[first, second] = set()
        for actions in product(range(NUM_ACTIONS), repeat=2):
            played = ForagingBoard(task, [first, second], [1, 1], dict.fromkeys(foods, 2))
            played.step(actions)
            after = (played.positions[0], played.positions[1])
            if len(played.foods) == len(foods):
                moves[first, second].add(after)
            else:
                (taken,) = foods - set(played.foods)
                cost = 1 + (smaller[taken][after] if played.foods else 0)
                best[first, second] = min(best.get((first, second), cost), cost)
    improved = True
    while improved:
        improved = False
        for pair, ways in moves.items():
            through = min((1 + best[way] for way in ways if way in best), default=UNREACHABLE)
            if through < best.get(pair, UNREACHABLE):
                best[pair], improved = through, True
    return best


def planned(size: int, foods: frozenset[int]) -> dict[Pair, int]:
    table = steps_to_finish(size, size, frozenset(divmod(food, size) for food in foods)).reshape(size**2, size**2)
    return {(int(p), int(q)): int(table[p, q]) for p, q in np.argwhere(table < UNREACHABLE)}


@pytest.mark.parametrize("food", sorted(interior(4)))
def test_the_plan_is_optimal_from_everywhere_with_one_food(food: int) -> None:
    assert planned(4, frozenset({food})) == brute_force(4, frozenset({food}))


@pytest.mark.parametrize("foods", [{6, 18}, {7, 16}])
def test_the_plan_is_optimal_from_everywhere_with_two_foods(foods: set[int]) -> None:
    assert planned(5, frozenset(foods)) == brute_force(5, frozenset(foods))


def test_the_exact_optimum_of_a_small_board_recomputed() -> None:
    """All boards of 4x4 with one food, each by brute force, weighted as they are drawn."""
    tables = {food: brute_force(4, frozenset({food})) for food in interior(4)}
    mean = Fraction(0)
    for first, second in product(range(16), repeat=2):
        if first != second:
            room = interior(4) - {first, second}
            mean += sum(Fraction(tables[food][first, second], 16 * 15 * len(room)) for food in room)
    assert optimum(ForagingTask(4, 2, 1, cooperative=True)).mean_steps == mean


def test_the_exact_optimum_of_the_papers_task() -> None:
    best = optimum(ForagingTask.parse(PAPER_TASK))
    assert sum(best.distribution.values()) == 1
    assert float(best.mean_steps) == pytest.approx(5.40877, abs=1e-5)
    assert 1 - 2 * best.mean_steps / 50 == pytest.approx(0.78365, abs=1e-5)
    assert best.max_steps == 9
    assert float(best.fewer_foods) == pytest.approx(0.1130, abs=1e-4)
    assert float(best.distribution[6]) == pytest.approx(0.360, abs=1e-3)


@pytest.mark.parametrize(
    ("size", "mean", "longest"), [(6, 6.9728, 13), pytest.param(8, 9.4574, 21, marks=pytest.mark.slow)]
)
def test_the_exact_optimum_of_larger_boards(size: int, mean: float, longest: int) -> None:
    best = optimum(ForagingTask(size, 2, 2, cooperative=True))
    assert float(best.mean_steps) == pytest.approx(mean, abs=1e-4)
    assert (best.max_steps, best.fewer_foods) == (longest, 0)


@pytest.mark.parametrize("name", ["5x5-3p-2f-coop", "5x5-2p-2f", "8x8-2p-3f-coop"])
def test_no_optimum_is_claimed_for_other_tasks(name: str) -> None:
    with pytest.raises(ValueError, match="the optimum is computed for two players"):
        optimum(ForagingTask.parse(name))


def test_the_distribution_is_that_of_spawned_boards() -> None:
    """The mean optimum of boards drawn by the game itself."""
    task = ForagingTask.parse(PAPER_TASK)
    drawn = [fewest_steps(ForagingBoard.spawn(task, np.random.default_rng(seed))) for seed in range(4000)]
    error = np.std(drawn) / len(drawn) ** 0.5
    assert abs(np.mean(drawn) - float(optimum(task).mean_steps)) < 4 * error


def test_the_best_welfare_of_a_board_is_that_of_its_fewest_steps() -> None:
    game = foraging(PAPER_TASK, time_penalty=2.0)
    steps = fewest_steps(ForagingBoard.spawn(game.task, _rng(3)))
    assert game.best_welfare(_rng(3)) == pytest.approx(1 - 2 * 2 * steps / 50)
    assert foraging(PAPER_TASK, max_steps=3).best_welfare(_rng(3)) is None
    assert foraging("10x10-3p-3f").best_welfare(_rng(3)) is None


@pytest.mark.parametrize("engine", ["core", "lbforaging"])
def test_the_planner_pair_is_optimal_in_every_episode(engine: str) -> None:
    game = foraging(PAPER_TASK, engine=engine)  # type: ignore[arg-type]
    lengths = []
    for index in range(2000 if engine == "core" else 300):
        log = record_match(game, [foraging_planner.Policy] * 2, match_seed(0, index))
        first_board = ForagingBoard.spawn(game.task, _rng(index))
        lengths.append(len(log.actions))
        assert len(log.actions) == fewest_steps(first_board)
        assert log.returns.sum() == pytest.approx(1 - 2 * len(log.actions) / 50)
    assert np.mean(lengths) == pytest.approx(5.409, abs=0.3)


def _rng(index: int) -> np.random.Generator:
    return episode_rng(match_seed(0, index))


def test_the_planner_plays_its_part_with_any_partner() -> None:
    class Idle:
        def __init__(self, player: int, seed: int) -> None:
            pass

        def act(self, observation: Observation) -> int:
            return 0

    game = foraging(PAPER_TASK)
    log = record_match(game, [foraging_planner.Policy, Idle], 5)
    assert len(log.actions) == 50


def test_the_planners_file_is_a_policy_program_that_is_optimal_in_the_sandbox() -> None:
    game = foraging(PAPER_TASK)
    seeds = [match_seed(0, index) for index in range(64)]
    for index, outcome in enumerate(play(game, [program_text()] * 2, seeds=seeds)):
        assert isinstance(outcome, MatchRecord), outcome
        assert outcome.num_moves == 2 * fewest_steps(ForagingBoard.spawn(game.task, _rng(index)))


def test_foods_keep_their_distance() -> None:
    assert crowded(5, 12) >= interior(5)
    assert interior(5) - crowded(5, 6) == {13, 17, 18}
