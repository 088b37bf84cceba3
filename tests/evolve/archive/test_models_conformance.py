"""What every store promises of the models: the memory of a bandit, and rates that all processes share."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

from evolve.archive.redis import RedisStore
from evolve.archive.store import Store
from evolve.llm.bandit import FADING
from evolve.llm.pacing import Bucket


def bucket(capacity: float, per_s: float) -> Bucket:
    """One of its own: buckets outlive a run's store."""
    return Bucket(f"test-{uuid.uuid4().hex}", capacity, per_s)


def test_a_prompt_stays_with_the_model_it_was_given_to(store: Store) -> None:
    both = ["openai:a", "google:b"]
    assert store.arms.choose("p", "openai:a", both) == "openai:a"
    assert store.arms.choose("p", "google:b", both) == "openai:a"
    assert store.arms.choose("q", "google:b", both) == "google:b"


def test_a_prompt_whose_model_is_gone_is_given_to_another_once(store: Store) -> None:
    store.arms.choose("p", "openai:gone", ["openai:gone"])
    assert store.arms.choose("p", "openai:a", ["openai:a", "google:b"]) == "openai:a"
    assert store.arms.choose("p", "google:b", ["openai:a", "google:b"]) == "openai:a"


def test_outcomes_are_booked_once_and_fade(store: Store) -> None:
    assert store.arms.known() == {}
    store.arms.reward("r1", "openai:a:b", 1.0, 0.25)
    store.arms.reward("r1", "openai:a:b", 1.0, 0.25)
    store.arms.reward("r2", "google:c", 0.0, 2.0)
    known = store.arms.known()
    first, second = known["openai:a:b"], known["google:c"]
    assert (first.trials, first.successes, first.cost) == pytest.approx((FADING, FADING, 0.25 * FADING))
    assert (second.trials, second.successes, second.cost) == pytest.approx((1.0, 0.0, 2.0))


def test_all_amounts_are_taken_or_none(store: Store) -> None:
    full, empty = bucket(10.0, 0.001), bucket(1.0, 0.001)
    assert store.buckets.take([(empty, 1.0)]) == 0.0
    assert store.buckets.take([(full, 10.0), (empty, 1.0)]) == pytest.approx(1000.0, rel=0.05)
    assert store.buckets.take([(full, 10.0)]) == 0.0
    assert store.buckets.take([]) == 0.0


def test_more_than_the_capacity_is_taken_on_credit(store: Store) -> None:
    some = bucket(10.0, 0.1)
    assert store.buckets.take([(some, 25.0)]) == 0.0
    assert store.buckets.take([(some, 10.0)]) == pytest.approx(250.0, rel=0.05)


def test_what_is_given_back_can_be_taken(store: Store) -> None:
    some = bucket(10.0, 0.001)
    store.buckets.give(some, 5.0)  # full already
    assert store.buckets.take([(some, 10.0)]) == 0.0
    store.buckets.give(some, 4.0)
    assert store.buckets.take([(some, 3.0)]) == 0.0
    store.buckets.give(some, -5.0)
    assert store.buckets.take([(some, 1.0)]) == pytest.approx(5000.0, rel=0.05)


def test_a_bucket_fills(store: Store) -> None:
    some = bucket(1.0, 5.0)
    assert store.buckets.take([(some, 1.0)]) == 0.0
    started = time.monotonic()
    while store.buckets.take([(some, 1.0)]) > 0:
        time.sleep(0.01)
    assert time.monotonic() - started >= 0.15


def test_many_threads_take_no_more_than_there_is(store: Store) -> None:
    some, taken = bucket(50.0, 0.001), list[float]()

    def take() -> None:
        taken.extend(1.0 for _ in range(20) if store.buckets.take([(some, 1.0)]) == 0.0)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 50


def test_runs_of_one_server_share_the_rates_and_not_the_bandit(redis_store: RedisStore) -> None:
    other = RedisStore(redis_store.url, f"run-{uuid.uuid4().hex[:8]}")
    some = bucket(1.0, 0.001)
    redis_store.arms.choose("p", "openai:a", ["openai:a", "google:b"])
    assert redis_store.buckets.take([(some, 1.0)]) == 0.0
    assert other.buckets.take([(some, 1.0)]) > 0
    assert other.arms.choose("p", "google:b", ["openai:a", "google:b"]) == "google:b"
    other.close()
