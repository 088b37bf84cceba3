"""The mathematics of an island, against hand-computed values and the properties FunSearch asks of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from archive_builders import scored

from evolve.archive.core import ArchiveSettings
from evolve.archive.island import CLUSTER_MEMBERS, Entry, Island, entry, signature
from evolve.archive.sampling import choose, cluster_weights, draw_programs, length_weights, temperature
from evolve.archive.upkeep import reset_weaker_half
from evolve.candidate import Candidate
from evolve.scoring import OpponentReturn

UNIT = ArchiveSettings(return_scale=1.0)


def of(candidate: Candidate) -> Entry:
    return entry(candidate, UNIT)


def returns(**means: float) -> dict[str, OpponentReturn]:
    return {name: OpponentReturn(mean, 0.1, 4) for name, mean in means.items()}


def test_a_signature_tells_behaviours_apart_by_a_thousandth_of_the_span() -> None:
    base = signature(returns(a=100.0, b=-3.0), 2000.0)
    assert signature(dict(reversed(returns(a=100.0, b=-3.0).items())), 2000.0) == base
    assert signature(returns(a=100.9, b=-3.0), 2000.0) == base
    assert signature(returns(a=101.1, b=-3.0), 2000.0) != base
    assert signature(returns(a=-3.0, b=100.0), 2000.0) != base
    assert signature(returns(a=100.0, c=-3.0), 2000.0) != base


def test_the_temperature_falls_to_the_end_of_its_period_and_starts_again() -> None:
    settings = ArchiveSettings(temperature=0.1, temperature_period=4)
    assert [temperature(settings, n) for n in range(5)] == pytest.approx([0.1, 0.075, 0.05, 0.025, 0.1])


def test_cluster_weights_are_a_softmax_of_the_scores() -> None:
    weights = np.array(cluster_weights([3.0, 1.0], ArchiveSettings(return_scale=2.0), 0.5))
    assert weights / weights.sum() == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))])


def test_cluster_weights_stay_finite_when_cold() -> None:
    assert cluster_weights([1e6, -1e6], UNIT, 1e-4) == [1.0, 0.0]


def test_shorter_programs_are_likelier() -> None:
    weights = length_weights([10, 20, 40], 1.0)
    assert weights == pytest.approx([1.0, math.exp(-0.25), math.exp(-0.75)])


def test_choose_inverts_the_cumulated_weights() -> None:
    weights = [1.0, 0.0, 3.0]
    assert [choose(weights, u) for u in (0.0, 0.2499, 0.25, 0.9999)] == [0, 0, 2, 2]


def test_draws_follow_the_softmax() -> None:
    settings = ArchiveSettings(temperature=0.5, return_scale=1.0, num_inspirations=0)
    island = Island()
    for name, score in (("a", 0.0), ("b", 0.5)):
        island.register(of(scored(name, score)))
    rng = np.random.default_rng(3)
    first = of(scored("b", 0.5)).id
    share = np.mean([draw_programs(island, settings, 1, "", rng.random(2).tolist())[0] == first for _ in range(4000)])
    heat = temperature(settings, 2)
    expected = 1 / (1 + math.exp(-0.5 / heat))
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)


def test_a_cluster_serves_again_only_after_the_others() -> None:
    settings = ArchiveSettings(num_inspirations=3, temperature=1e-3, return_scale=1.0)
    island = Island()
    twins = [of(scored(f"t{i}", 1.0)) for i in range(3)]
    other = of(scored("other", 0.0))
    for each in (*twins, other):
        island.register(each)
    drawn = draw_programs(island, settings, 4, "", [0.5] * 8)
    assert drawn[1] == other.id
    assert sorted(drawn) == sorted(each.id for each in (*twins, other))


def test_a_full_cluster_keeps_its_shortest() -> None:
    island = Island()
    entries = [of(scored("p", 1.0, padding=length)) for length in range(CLUSTER_MEMBERS + 5)]
    for each in reversed(entries):
        island.register(each)
    (cluster,) = island.clusters.values()
    assert cluster.members == [(each.length, each.id) for each in entries[:CLUSTER_MEMBERS]]
    assert len(island.ranking) == CLUSTER_MEMBERS + 5


def test_islands_of_equal_best_are_told_apart_by_their_mean() -> None:
    islands = [Island() for _ in range(2)]
    for island, others in zip(islands, ([0.9], [0.1]), strict=True):
        for index, score in enumerate([1.0, *others]):
            island.register(of(scored(f"p{index}{score}".replace(".", "_"), score)))
    reset_weaker_half(islands, [0.0] * 4)
    assert [island.epoch for island in islands] == [0, 1]
