"""The run's model as its processes share it: recorded, budgeted, paced, patient, and chosen among several."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from evolve.archive.store import Store, each_event
from evolve.llm.bandit import BanditLLM
from evolve.llm.core import LLM
from evolve.llm.ensemble import EnsembleLLM
from evolve.llm.outage import Outage, PatientLLM
from evolve.llm.pacing import Pacer, Rates
from evolve.llm.pricing import price_of
from evolve.llm.providers import WeightedModel, make_llm
from evolve.llm.recording import RecordedLLM
from workers.experiment import Experiment, LLMSettings
from workers.telemetry import Telemetry

OUTAGE, OUTAGE_OVER = "outage", "outage_over"
"""Types of events: a provider went down, and came back."""


def make_model(experiment: Experiment) -> LLM:
    """The model on its own, as the experiment names it. Raises ``UnknownModelError`` or ``MissingKeyError``."""
    return make_llm(experiment.llm.model, seed=experiment.seed, settings=experiment.llm.provider())


def shared_model(experiment: Experiment, store: Store) -> RecordedLLM:
    """The model of one process of a run; what the processes have in common is in the store. Raises as above."""
    settings = experiment.llm
    rates = Rates(settings.requests_per_minute, settings.tokens_per_minute)
    pacer = None if rates == Rates() else Pacer(rates, store.buckets)
    members: list[tuple[LLM, float]] = []
    for member in members_of(settings):
        llm = make_llm(member.model, seed=experiment.seed, settings=settings.provider(pacer))
        patient = PatientLLM(llm, settings.patience_s, partial(_report, store, llm.model))
        members.append((patient, member.weight))
    model = _one_of(members, settings, store)
    return RecordedLLM(model, store.completions, store.ledger(experiment.budget), store.aside)


def members_of(settings: LLMSettings) -> tuple[WeightedModel, ...]:
    return (WeightedModel(settings.model),) if isinstance(settings.model, str) else settings.model


def _one_of(members: list[tuple[LLM, float]], settings: LLMSettings, store: Store) -> LLM:
    if isinstance(settings.model, str):
        return members[0][0]
    if settings.selection == "weights":
        return EnsembleLLM(members)
    priced = all(price_of(llm.model) is not None for llm, _ in members)
    return BanditLLM(members, store.arms, cost_exponent=settings.cost_exponent, priced=priced)


# -- outages ---------------------------------------------------------------------------------------------------


def _report(store: Store, model: str, outage: Outage | None) -> None:
    """Keeps what is known of the model's outage where the driver looks, and its begin and end in the event log."""
    name = _record_name(model)
    before = store.load(name) or {"down": False}
    if outage is None:
        store.save(name, {"down": False})
        if before["down"]:
            paused_s = time.time() - cast(float, before["since_s"])
            store.log({"type": OUTAGE_OVER, "model": model, "paused_s": paused_s, "t_s": time.time()})
        return
    since_s = before["since_s"] if before["down"] else outage.since_s
    store.save(name, {"down": True, "reason": outage.reason, "since_s": since_s})
    if not before["down"]:
        store.log({"type": OUTAGE, "model": model, "reason": outage.reason, "t_s": outage.since_s})


def _record_name(model: str) -> str:
    return f"outage:{model}"


def forget_outages(experiment: Experiment, store: Store) -> None:
    """What an earlier start of the run left behind is no outage of this one."""
    for member in members_of(experiment.llm):
        _report(store, member.model, None)


class OutageWatch:
    """Tells of outages, once as each begins and once as it ends; :meth:`look` is called every second."""

    def __init__(self, experiment: Experiment, store: Store, telemetry: Telemetry) -> None:
        self._models = [member.model for member in members_of(experiment.llm)]
        self._store = store
        self._telemetry = telemetry
        self._down: dict[str, float] = {}

    def look(self) -> bool:
        """Is every model of the run down?"""
        for model in self._models:
            record = self._store.load(_record_name(model)) or {"down": False}
            if record["down"] and model not in self._down:
                self._down[model] = cast(float, record["since_s"])
                self._telemetry.warn(
                    f"paused: {record['reason']}; the run waits for the provider, tries it every minute and spends "
                    "nothing meanwhile (Ctrl-C ends it; nothing is lost)"
                )
            elif not record["down"] and model in self._down:
                self._telemetry.say(f"{model} is back after {time.time() - self._down.pop(model):.0f} s: going on")
        return len(self._down) == len(self._models)


# -- what the models did -----------------------------------------------------------------------------------------


@dataclass
class _Use:
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    priced: bool = True
    latency_s: float = 0.0


def models_used(store: Store) -> dict[str, Any]:
    """For ``summary.json``: of each model its calls, tokens, cost (``None`` without a price), mean latency, seconds
    down, and what a bandit learnt of it."""
    used: dict[str, _Use] = {}
    for _, _, completion in store.completions.items():
        use = used.setdefault(completion.model, _Use())
        use.calls += 1
        use.tokens_in += completion.tokens_in
        use.tokens_out += completion.tokens_out
        use.usd += completion.usd or 0.0
        use.priced = use.priced and completion.usd is not None
        use.latency_s += completion.latency_s
    arms = store.arms.known()
    paused = [event for event in each_event(store) if event["type"] == OUTAGE_OVER]
    return {
        model: {
            "llm_calls": use.calls,
            "tokens_in": use.tokens_in,
            "tokens_out": use.tokens_out,
            "usd": use.usd if use.priced else None,
            "mean_latency_s": use.latency_s / use.calls,
            "paused_s": sum(cast(float, event["paused_s"]) for event in paused if event["model"] == model),
            **({"bandit": {"trials": a.trials, "successes": a.successes}} if (a := arms.get(model)) else {}),
        }
        for model, use in sorted(used.items())
    }
