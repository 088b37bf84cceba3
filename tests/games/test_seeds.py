from __future__ import annotations

import numpy as np
import pytest

from games.seeds import MATCH_SEED_BITS, SEAT_SEED_BITS, episode_rng, match_seed, sampling_rng, seat_seed


def test_seeds_are_the_same_on_every_machine() -> None:
    assert match_seed(0) == 3506246953836926465
    assert match_seed(7, "greenberg", 3) == 8581722461860146833
    assert seat_seed(5, 0) == 928274057


def test_labels_are_framed_and_typed() -> None:
    seeds = {match_seed(1, "a", "b"), match_seed(1, "ab"), match_seed(1, "a"), match_seed(1, 1), match_seed(1, "1")}
    assert len(seeds) == 5


def test_seeds_stay_in_range_and_differ() -> None:
    matches = [match_seed(0, i) for i in range(2000)]
    seats = [seat_seed(m, s) for m in matches for s in (0, 1)]
    assert len(set(matches)) == 2000
    assert all(0 <= m < 2**MATCH_SEED_BITS for m in matches)
    assert all(0 <= s < 2**SEAT_SEED_BITS for s in seats)
    assert len(set(seats)) >= 3998  # 4000 draws of 2**32 collide about 0.002 times


def test_seat_seeds_are_accepted_by_every_generator() -> None:
    np.random.RandomState(max(seat_seed(i, 0) for i in range(100)))


def test_the_generators_of_a_match_are_independent_and_reproducible() -> None:
    def draws() -> list[int]:
        generators = episode_rng(3), sampling_rng(3, 0), sampling_rng(3, 1), episode_rng(4)
        return [int(rng.integers(2**62)) for rng in generators]

    assert draws() == draws()
    assert len(set(draws())) == 4


@pytest.mark.parametrize("seed", [-1, 2**128])
def test_a_seed_out_of_range_says_so(seed: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 2"):
        match_seed(seed)
