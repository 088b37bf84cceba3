"""What every store promises besides its archives: completions, payoffs, budget, checkpoints, events."""

from __future__ import annotations

import pytest
from archive_builders import PROMPT, completion

from evolve.archive.store import Store, settle_stored
from evolve.llm.budget import Budget, Usage, usage_of
from evolve.llm.core import BudgetExhaustedError, Completion, Prompt
from evolve.scoring import OpponentReturn


def test_the_first_completion_of_a_key_stays(store: Store) -> None:
    assert store.completions.get("k") is None
    store.completions.put("k", PROMPT, completion("first"))
    store.completions.put("k", PROMPT, completion("second"))
    assert store.completions.get("k") == completion("first")
    assert list(store.completions.items()) == [("k", PROMPT, completion("first"))]


def test_completions_come_in_the_order_they_were_stored(store: Store) -> None:
    keys = [f"{(i * 7919) % 1000:03d}" for i in range(600)]
    for key in keys:
        store.completions.put(key, Prompt("s", f"prompt {key}"), completion(key))
    assert [(k, p.user, c.text) for k, p, c in store.completions.items()] == [(k, f"prompt {k}", k) for k in keys]


def test_text_that_is_no_proper_unicode_is_kept(store: Store) -> None:
    odd = Completion("\ud800 \x00 é", "openai:m", 1, 1, None, 0.0, "length")
    store.completions.put("odd", Prompt("\udfff", ""), odd)
    assert list(store.completions.items()) == [("odd", Prompt("\udfff", ""), odd)]


def test_payoffs_are_kept_by_program_opponent_and_block(store: Store) -> None:
    value = OpponentReturn(0.1 + 0.2, 0.25, 32, 1)
    store.payoffs.put("a", "b", "c", value)
    assert store.payoffs.get("a", "b", "c") == value
    assert store.payoffs.get("b", "a", "c") is None
    store.payoffs.put("a:b", "", "c", OpponentReturn(1.0, 0.0, 1))
    assert store.payoffs.get("a", "b:", "c") is None


def test_a_checkpoint_is_replaced_whole(store: Store) -> None:
    assert store.load("psro") is None
    store.save("psro", {"iteration": 1, "pool": ["a", "b"]})
    store.save("psro", {"iteration": 2, "weights": {"a": 0.5}, "done": False, "none": None})
    assert store.load("psro") == {"iteration": 2, "weights": {"a": 0.5}, "done": False, "none": None}
    assert store.load("other") is None


def test_a_checkpoint_is_a_copy(store: Store) -> None:
    record: dict[str, object] = {"pool": ["a"]}
    store.save("psro", record)
    record["pool"] = []
    assert store.load("psro") == {"pool": ["a"]}


def test_a_value_msgpack_cannot_carry_is_refused(store: Store) -> None:
    with pytest.raises(TypeError):
        store.save("psro", {"pool": object()})


def test_events_are_read_from_a_position(store: Store) -> None:
    for number in range(5):
        store.log({"number": number})
    assert store.events() == [{"number": number} for number in range(5)]
    assert store.events(3) == [{"number": 3}, {"number": 4}]
    assert store.events(5) == []


def test_the_budget_is_reserved_then_charged(store: Store) -> None:
    ledger = store.ledger(Budget(llm_calls=2))
    ledger.reserve([("a", Usage(1, 100, 900, 0.5))])
    ledger.reserve([("a", Usage(1, 100, 900, 0.5))])
    assert ledger.spent() == Usage()
    assert ledger.reserved() == {"a": Usage(1, 100, 900, 0.5)}
    ledger.reserve([("b", Usage(1, 10, 20, 0.25))])
    assert ledger.held() == Usage(2, 110, 920, 0.75)
    ledger.release("b")
    ledger.settle("a", Usage(1, 90, 10, 0.125))
    ledger.settle("a", Usage(1, 90, 10, 0.125))
    ledger.release("a")
    assert ledger.spent() == Usage(1, 90, 10, 0.125)
    assert ledger.reserved() == {}
    assert ledger.held() == Usage()
    ledger.reserve([("a", Usage(9, 0, 0))])
    assert ledger.reserved() == {}


@pytest.mark.parametrize(
    ("budget", "name"),
    [(Budget(llm_calls=2), "llm_calls"), (Budget(tokens=2200), "tokens"), (Budget(usd=1.2), "usd")],
)
def test_a_call_that_would_pass_a_limit_is_refused(store: Store, budget: Budget, name: str) -> None:
    ledger = store.ledger(budget)
    estimate = Usage(1, 100, 900, 0.5)
    ledger.reserve([("a", estimate)])
    ledger.reserve([("b", estimate)])
    (refusal,) = ledger.reserve([("c", estimate)])
    assert isinstance(refusal, BudgetExhaustedError) and f"budget.{name} is used up" in str(refusal)
    assert set(ledger.reserved()) == {"a", "b"}
    ledger.release("b")
    ledger.release("never reserved")
    ledger.reserve([("c", estimate)])
    ledger.settle("c", estimate)
    store.ledger(Budget()).reserve([("d", estimate)])
    assert set(ledger.reserved()) == {"a", "d"}


def test_a_limit_is_reached_exactly(store: Store) -> None:
    ledger = store.ledger(Budget(usd=0.3))
    for key in ("a", "b", "c"):
        ledger.reserve([(key, Usage(usd=0.1))])
        ledger.settle(key, Usage(usd=0.1))
    assert ledger.spent().usd == 0.3
    (refusal,) = ledger.reserve([("d", Usage(usd=0.000001))])
    assert isinstance(refusal, BudgetExhaustedError) and "0.3 of 0.3" in str(refusal)


def test_what_is_reserved_together_is_reserved_in_order(store: Store) -> None:
    ledger = store.ledger(Budget(tokens=10))
    ledger.settle("paid", Usage(1, 1, 1))
    sizes = {"a": 4, "b": 6, "a again": 4, "c": 4, "d": 1}
    asked = [(name.removesuffix(" again"), Usage(1, size, 0)) for name, size in sizes.items()]
    granted, too_large, known, last, refused, paid = ledger.reserve([*asked, ("paid", Usage(1, 1, 0))])
    assert (granted, known, last, paid) == (True, False, True, False)
    assert isinstance(too_large, BudgetExhaustedError) and "6 of 10 spent" in str(too_large)
    assert isinstance(refused, BudgetExhaustedError) and "10 of 10 spent" in str(refused)
    assert ledger.reserved() == {"a": Usage(1, 4, 0), "c": Usage(1, 4, 0)}
    assert ledger.held() == Usage(2, 8, 0)


def test_a_call_never_reserved_is_charged_once(store: Store) -> None:
    ledger = store.ledger(Budget(llm_calls=0))
    ledger.settle("a", Usage(1, 2, 3, 0.0, 1))
    ledger.settle("a", Usage(1, 2, 3, 0.0, 1))
    assert ledger.spent() == Usage(1, 2, 3, 0.0, 1)


def test_what_a_dead_process_left_is_settled_from_its_completions(store: Store) -> None:
    ledger = store.ledger(Budget())
    for key in ("answered", "lost", "unpriced"):
        ledger.reserve([(key, Usage(1, 100, 900, 0.5))])
    free = Completion("text", "m", 7, 8, None, 0.1)
    store.completions.put("answered", PROMPT, completion("text"))
    store.completions.put("unpriced", PROMPT, free)
    assert settle_stored(ledger, store.completions) == ["lost"]
    assert set(ledger.reserved()) == {"lost"}
    assert ledger.spent() == Usage(2, 10, 13, 0.000002, 1)
    assert usage_of(free).unpriced_calls == 1
