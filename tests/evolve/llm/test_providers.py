"""Models by name, ensembles, prices."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from evolve.llm.core import LLMRefusedError, Prompt
from evolve.llm.ensemble import EnsembleLLM, answering_model
from evolve.llm.offline import OfflineLLM
from evolve.llm.pricing import Price, price_of
from evolve.llm.providers import MissingKeyError, UnknownModelError, WeightedModel, make_llm, provider_names


def test_the_providers() -> None:
    assert provider_names() == ["google", "offline", "openai", "replay"]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("opnai:gpt-4.1", "did you mean openai"),
        ("gemini:gemini-2.5-pro", "providers: google, offline, openai, replay"),
        ("", "providers: "),
        ("core:x", "no LLM provider 'core'"),
        ("openai", "openai:MODEL"),
        ("google:", "google:MODEL"),
        ("offline:fast", "offline takes no model name"),
    ],
)
def test_a_bad_name_is_one_clear_line(name: str, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    with pytest.raises(UnknownModelError, match=complaint) as caught:
        make_llm(name, seed=0)
    assert "\n" not in str(caught.value)


def test_a_missing_key_says_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingKeyError, match="set OPENAI_API_KEY"):
        make_llm("openai:gpt-4.1", seed=0)
    with pytest.raises(LLMRefusedError, match="set GEMINI_API_KEY or GOOGLE_API_KEY"):
        make_llm("google:gemini-2.5-pro", seed=0)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("GOOGLE_API_KEY", "x")
    assert make_llm("openai:gpt-4.1", seed=0).model == "openai:gpt-4.1"
    assert make_llm("google:gemini-2.5-pro", seed=0).model == "google:gemini-2.5-pro"


def test_ensembles_divide_prompts_by_weight_and_by_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    llm = make_llm([WeightedModel("openai:a", 3.0), WeightedModel("offline", 1.0)], seed=1)
    prompts = [Prompt("", f"prompt {i}") for i in range(2000)]
    chosen = [answering_model(llm, prompt) for prompt in prompts]
    assert 0.70 < Counter(chosen)["openai:a"] / 2000 < 0.80
    again = make_llm([WeightedModel("openai:a", 3.0), WeightedModel("offline", 1.0)], seed=2)
    assert [answering_model(again, prompt) for prompt in prompts] == chosen
    assert llm.model == "openai:a+offline"


async def test_the_member_that_is_announced_answers() -> None:
    llm = EnsembleLLM([(OfflineLLM(1), 1.0), (EnsembleLLM([(OfflineLLM(2), 1.0)]), 1.0)])
    for i in range(6):
        prompt = Prompt("", f"prompt {i}")
        assert (await llm.complete(prompt)).model == llm.model_for(prompt) == "offline"


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_weights_are_positive(weight: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        EnsembleLLM([(OfflineLLM(1), weight)])
    with pytest.raises(ValueError, match="at least one"):
        make_llm([], seed=0)


def test_prices() -> None:
    assert price_of("openai:gpt-4.1-mini") == price_of("openai:gpt-4.1-mini-2025-04-14") == Price(0.40, 1.60)
    price = price_of("google:gemini-2.5-flash")
    assert price is not None
    assert price.usd(1_000_000, 2_000_000) == pytest.approx(0.30 + 2 * 2.50)
    assert price_of("offline") == Price(0.0, 0.0)


def test_an_unpriced_model_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert [price_of("openai:llama-at-home") for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 1
    assert "openai:llama-at-home" in caplog.text
