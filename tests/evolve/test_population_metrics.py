from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from evolve.population_metrics import (
    PopulationMetrics,
    drawn_metrics,
    exact_metrics,
    mixture_metrics,
    over_seeds,
    population_metrics,
)
from games.match import play_match
from games.registry import make_game
from games.seeds import match_seed

RETURNS = {"rockbot": [996.0, 998.0], "randbot": [3.0, -5.0], "greenberg": [-60.0, -70.0], "copybot": [980.0, 990.0]}


def test_definitions_by_hand() -> None:
    metrics = population_metrics(RETURNS)
    assert metrics.pop_return.value == pytest.approx((997 - 1 - 65 + 985) / 4)
    assert metrics.pop_expl_naive.value == 65
    assert metrics.agg_score_naive.value == pytest.approx((997 - 1 - 65 + 985) / 4 - 65)
    assert metrics.nemesis == "greenberg"
    assert metrics.matches_per_bot == 2
    assert metrics.by_opponent["rockbot"].mean == 997


def test_exploitability_of_an_agent_that_beats_all_is_negative() -> None:
    metrics = population_metrics({"a": [5.0, 7.0], "b": [2.0, 4.0]})
    assert metrics.pop_expl_naive.value == -3
    assert metrics.agg_score_naive.value == 4.5 + 3


def test_standard_errors_by_hand() -> None:
    metrics = population_metrics({"a": [0.0, 2.0], "b": [10.0, 14.0]})  # variances of the means: 1 and 4
    assert metrics.by_opponent["b"].stderr == pytest.approx(2.0)
    assert metrics.pop_return.stderr == pytest.approx(math.sqrt(1 + 4) / 2)
    assert metrics.pop_expl_naive.stderr == pytest.approx(1.0)
    assert metrics.agg_score_naive.stderr == pytest.approx(math.sqrt(1.5**2 * 1 + 0.5**2 * 4))


def test_split_half_scores_the_nemesis_on_the_other_half() -> None:
    # First half: a is the nemesis, which the second half scores at +2. Second half: b is, which the first scores at 0.
    metrics = population_metrics({"a": [-10.0, 2.0], "b": [0.0, -4.0]})
    assert metrics.pop_expl is not None
    assert metrics.pop_expl.value == pytest.approx((-2.0 + 0.0) / 2)
    assert metrics.pop_expl_naive.value == 4.0


def test_split_half_with_one_clear_nemesis_is_the_plain_estimate() -> None:
    rng = np.random.default_rng(0)
    returns = {"a": rng.normal(-500, 5, 40), "b": rng.normal(100, 5, 40), "c": rng.normal(0, 5, 40)}
    metrics = population_metrics(returns)
    assert metrics.pop_expl is not None and metrics.agg_score is not None
    assert metrics.pop_expl.value == pytest.approx(metrics.pop_expl_naive.value)
    assert metrics.pop_expl.stderr == pytest.approx(metrics.pop_expl_naive.stderr)
    assert metrics.agg_score.stderr == pytest.approx(metrics.agg_score_naive.stderr)


def _uniform_player(matches: int, trials: int) -> list[PopulationMetrics]:
    rng = np.random.default_rng(1)
    spread = math.sqrt(1000 * 2 / 3)  # of a 1000-round match of rock-paper-scissors
    draws = rng.normal(0, spread, size=(trials, 43, matches))
    return [population_metrics({str(j): trial[j] for j in range(43)}) for trial in draws]


@pytest.mark.parametrize(("matches", "bias"), [(2, 39.9), (10, 17.9), (100, 5.7)])
def test_plain_exploitability_is_biased_upward_and_split_half_is_not(matches: int, bias: float) -> None:
    metrics = _uniform_player(matches, 200)
    plain = np.array([m.pop_expl_naive.value for m in metrics])
    split = np.array([m.pop_expl.value for m in metrics if m.pop_expl is not None])
    assert plain.mean() == pytest.approx(bias, rel=0.06)
    assert abs(split.mean()) < 4 * split.std() / math.sqrt(len(split))


def test_standard_errors_are_the_spread_over_repetitions() -> None:
    rng = np.random.default_rng(2)
    centres = {"a": -300.0, "b": 50.0, "c": 200.0}
    metrics = [population_metrics({k: rng.normal(v, 20, 12) for k, v in centres.items()}) for _ in range(600)]
    for name in ("pop_return", "pop_expl_naive", "agg_score_naive", "agg_score"):
        values = [getattr(m, name).value for m in metrics]
        claimed = np.sqrt(np.mean([getattr(m, name).stderr ** 2 for m in metrics]))
        assert claimed == pytest.approx(np.std(values), rel=0.12), name


def test_one_match_per_bot_has_no_error_and_no_split() -> None:
    metrics = population_metrics({"a": [1.0], "b": [2.0]})
    assert metrics.pop_expl is None
    assert math.isnan(metrics.pop_return.stderr)
    record = json.loads(json.dumps(metrics.to_json(), allow_nan=False))
    assert record["pop_return"] == 1.5
    assert record["pop_return_stderr"] is None
    assert record["pop_expl"] is None


def test_a_mixture_is_the_weighted_mean_of_its_members() -> None:
    returns = {"x": {"a": [10.0, 12.0], "b": [0.0, 0.0]}, "y": {"a": [-30.0, -30.0], "b": [8.0, 4.0]}}
    metrics = mixture_metrics(returns, {"x": 0.75, "y": 0.25})
    assert metrics.by_opponent["a"].mean == pytest.approx(0.75 * 11 - 0.25 * 30)
    assert metrics.by_opponent["b"].mean == pytest.approx(0.25 * 6)
    assert metrics.by_opponent["a"].stderr == pytest.approx(0.75 * 1.0)
    assert metrics.by_opponent["a"].matches == 4
    assert metrics.nemesis == "a"


def test_a_pure_mixture_is_its_member_and_weight_zero_needs_no_matches() -> None:
    metrics = mixture_metrics({"x": RETURNS}, {"x": 1.0, "unplayed": 0.0})
    assert metrics == population_metrics(RETURNS)


def test_a_stratified_mixture_estimates_what_drawing_members_does() -> None:
    rng = np.random.default_rng(3)
    members = {"x": rng.normal(100, 10, 4000), "y": rng.normal(-100, 10, 4000)}
    stratified = mixture_metrics({k: {"bot": v} for k, v in members.items()}, {"x": 0.3, "y": 0.7})
    drawn = np.where(rng.random(4000) < 0.3, members["x"], members["y"])
    naive = population_metrics({"bot": drawn})
    assert stratified.pop_return.stderr < naive.pop_return.stderr / 3
    assert abs(stratified.pop_return.value - naive.pop_return.value) < 4 * naive.pop_return.stderr


def test_drawing_a_member_for_each_match_uses_each_members_own_match() -> None:
    """Against bot a, the k-th match of x ends in k and that of y in -k; the mean over many draws is the mixture's."""
    played = np.arange(1.0, 401.0)
    returns = {"x": {"a": played, "b": played}, "y": {"a": -played, "b": played}}
    drawn = drawn_metrics(returns, {"x": 0.75, "y": 0.25, "z": 0.0}, np.random.default_rng(0))
    stratified = mixture_metrics(returns, {"x": 0.75, "y": 0.25})
    assert drawn.matches_per_bot == 400  # not those of both members
    assert drawn.by_opponent["b"].mean == played.mean()  # whoever is drawn, each match counts once
    a = drawn.by_opponent["a"]
    assert abs(a.mean - stratified.by_opponent["a"].mean) < 4 * a.stderr
    assert drawn.by_opponent["a"].mean != stratified.by_opponent["a"].mean


def test_what_is_drawn_is_the_seeds_business() -> None:
    returns = {"x": {"a": [1.0, 2.0, 3.0]}, "y": {"a": [-1.0, -2.0, -3.0, 9.0]}}
    first, again = (drawn_metrics(returns, {"x": 0.5, "y": 0.5}, np.random.default_rng(5)) for _ in range(2))
    assert first == again and first.matches_per_bot == 3
    with pytest.raises(ValueError, match="no returns of z"):
        drawn_metrics(returns, {"x": 0.5, "z": 0.5}, np.random.default_rng(5))


def test_exact_values_have_no_noise() -> None:
    metrics = exact_metrics({"cfr+": 0.0, "AlwaysCall": 63.3, "AlwaysFold": 57.3})
    assert metrics.pop_return.value == pytest.approx(40.2)
    assert metrics.pop_expl_naive == metrics.pop_expl
    assert metrics.nemesis == "cfr+"
    assert metrics.agg_score_naive.value == pytest.approx(40.2)


def test_forfeits_are_carried() -> None:
    assert population_metrics(RETURNS, {"randbot": 2}).by_opponent["randbot"].forfeits == 2
    with pytest.raises(ValueError, match="forfeits of nobody"):
        population_metrics(RETURNS, {"nobody": 1})


@pytest.mark.parametrize("bad", [[], [[1.0]], [float("nan")], [float("inf")]])
def test_bad_returns_say_whose(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="returns against a must be"):
        population_metrics({"a": bad})


def test_an_empty_population_is_refused() -> None:
    with pytest.raises(ValueError, match="population is empty"):
        population_metrics({})
    with pytest.raises(ValueError, match="population is empty"):
        exact_metrics({})


@pytest.mark.parametrize("weights", [{"x": 0.5}, {"x": 1.5, "y": -0.5}, {}])
def test_weights_must_be_a_distribution(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="add to 1"):
        mixture_metrics({"x": RETURNS, "y": RETURNS}, weights)


def test_members_must_have_met_the_same_bots() -> None:
    with pytest.raises(ValueError, match="y has not met randbot"):
        mixture_metrics({"x": RETURNS, "y": {"rockbot": [1.0, 2.0]}}, {"x": 0.5, "y": 0.5})
    with pytest.raises(ValueError, match="no returns of z"):
        mixture_metrics({"x": RETURNS}, {"x": 0.5, "z": 0.5})


def test_over_seeds() -> None:
    summary = over_seeds([1.0, 3.0, 5.0])
    assert (summary.mean, summary.maximum, summary.minimum, summary.seeds) == (3.0, 5.0, 1.0, 3)
    assert summary.stderr == pytest.approx(2 / math.sqrt(3))
    assert math.isnan(over_seeds([1.0]).stderr)
    with pytest.raises(ValueError, match="no seeds"):
        over_seeds([])


# Mean returns (1000 matches each) of three of the 43 bots against all 43, from the table published with
# arXiv:2303.03196 in OpenSpiel's repository (paper_data/pbe_rrps, Apache-2.0).
TABLE: dict[str, dict[str, float]] = json.loads((Path(__file__).parent / "rrps_rows.json").read_text())


@pytest.mark.parametrize(
    ("bot", "pop_return", "pop_expl", "agg_score", "nemesis"),
    [
        ("greenberg", 288.15, 3.65, 284.50, "shofar"),
        ("iocainebot", 255.00, 5.01, 250.00, "shofar"),
        ("randbot", 0.23, 1.20, -0.96, "halbot"),
    ],
)
def test_published_rows(bot: str, pop_return: float, pop_expl: float, agg_score: float, nemesis: str) -> None:
    metrics = exact_metrics(TABLE[bot])
    assert len(metrics.by_opponent) == 43
    assert metrics.pop_return.value == pytest.approx(pop_return, abs=0.006)
    assert metrics.pop_expl_naive.value == pytest.approx(pop_expl, abs=0.006)
    assert metrics.agg_score_naive.value == pytest.approx(agg_score, abs=0.011)
    assert metrics.nemesis == nemesis


@pytest.mark.slow
def test_real_matches_agree_with_the_published_rows() -> None:
    """Every cell of randbot's row; the spread of one match is that of 1000 fair throws."""
    game = make_game("repeated_rps")
    population = game.reference_population()
    matches = 6
    returns = {}
    for bot, opponent in population.items():
        seeds = [match_seed(4, bot, i) for i in range(matches)]
        returns[bot] = [play_match(game, [population["randbot"], opponent], seed)[0] for seed in seeds]
    metrics = population_metrics(returns)
    assert abs(metrics.pop_return.value - np.mean(list(TABLE["randbot"].values()))) < 4 * metrics.pop_return.stderr
    noise = math.sqrt(1000 * 2 / 3 / matches)
    scores = np.array([(r.mean - TABLE["randbot"][bot]) / noise for bot, r in metrics.by_opponent.items()])
    assert abs(scores).max() < 4.5
    assert 0.5 < scores.std() < 1.5


@pytest.mark.slow
def test_a_strong_bot_agrees_with_the_published_row() -> None:
    game = make_game("repeated_rps")
    population = game.reference_population()
    returns = {
        bot: [play_match(game, [population["markov5"], other], match_seed(5, bot, i))[0] for i in range(3)]
        for bot, other in population.items()
    }
    metrics = population_metrics(returns)
    assert abs(metrics.pop_return.value - 111.2) < 4 * metrics.pop_return.stderr + 1
