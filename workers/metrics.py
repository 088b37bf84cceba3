"""A run's status as Prometheus metrics: through Ray's metrics agent on a cluster, and on the board's ``/metrics``.

All are gauges tagged with the run, and nothing tagged with the iteration, which would leave a dead series behind for
each; the iteration is a gauge of its own. Ray's agent forgets a gauge that is not set again within some twenty seconds,
so the status writer sets them each second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workers.status import Status

PREFIX = "csro_"

HELP = {
    "island_best_return": "best return on an island, in the search under way",
    "island_mean_return": "mean return on an island",
    "island_programs": "programs on an island",
    "iteration": "number of the iteration under way, from 1",
    "programs_committed": "programs evaluated in the search under way",
    "programs_wanted": "programs that the search under way is to evaluate",
    "programs_per_second": "programs evaluated per second, over the last ten",
    "programs_failed": "programs of the search under way that failed, by kind of fault",
    "best_return": "return of the best program of the search under way",
    "best_return_stderr": "its standard error",
    "llm_calls_in_flight": "calls to the language model under way",
    "llm_calls": "calls to the language model so far",
    "llm_tokens": "tokens paid for so far, by direction",
    "llm_usd": "US dollars spent so far, calls of unknown price not counted",
    "budget_share": "part of a limit of the budget that is spent, from 0 to 1",
    "driver_alive": "1 while the run's driver writes its status",
}


@dataclass(frozen=True)
class Measure:
    name: str
    value: float
    labels: Mapping[str, str]


def measures(status: Status, now_s: float) -> Iterator[Measure]:
    """All that a status says in numbers; what it does not know is left out."""
    run = {"run": status.run_id}
    spent = status.spent
    single: dict[str, float | None] = {
        "iteration": status.iteration,
        "programs_committed": status.committed,
        "programs_wanted": status.proposals,
        "programs_per_second": status.programs_per_s,
        "best_return": status.best.mean_return if status.best else None,
        "best_return_stderr": status.best.stderr if status.best else None,
        "llm_calls_in_flight": status.in_flight,
        "llm_calls": spent.llm_calls,
        "llm_usd": spent.usd,
        "driver_alive": float(status.alive(now_s)),
    }
    yield from (Measure(name, value, run) for name, value in single.items() if value is not None)
    for island in status.islands:
        tags = {**run, "island": str(island.index)}
        if island.best is not None:
            yield Measure("island_best_return", island.best, tags)
        if island.mean is not None:
            yield Measure("island_mean_return", island.mean, tags)
        yield Measure("island_programs", island.programs, tags)
    for kind, count in status.failures.items():
        yield Measure("programs_failed", count, {**run, "kind": kind})
    for direction, tokens in (("in", spent.tokens_in), ("out", spent.tokens_out)):
        yield Measure("llm_tokens", tokens, {**run, "direction": direction})
    for limit, share in budget_shares(status).items():
        yield Measure("budget_share", share, {**run, "limit": limit})


def budget_shares(status: Status) -> dict[str, float]:
    """How much of each limit is spent. The run's time is not among them: only its driver knows it."""
    spent, budget = status.spent, status.budget
    amounts = {
        "llm_calls": (spent.llm_calls, budget.llm_calls),
        "tokens": (spent.tokens_in + spent.tokens_out, budget.tokens),
        "usd": (spent.usd, budget.usd),
    }
    return {name: amount / limit for name, (amount, limit) in amounts.items() if limit}


class RayGauges:
    """Sets the metrics through Ray, where its agents hand them to Prometheus as ``ray_csro_...``."""

    def __init__(self) -> None:
        self._gauges: dict[str, Any] = {}

    def __call__(self, status: Status) -> None:
        import ray
        from ray.util.metrics import Gauge

        if not ray.is_initialized():
            return  # not yet, or no longer
        for measure in measures(status, status.t_s):
            name = PREFIX + measure.name
            if name not in self._gauges:
                self._gauges[name] = Gauge(name, description=HELP[measure.name], tag_keys=tuple(measure.labels))
            self._gauges[name].set(measure.value, tags=dict(measure.labels))


def exposition(statuses: Iterable[tuple[Status, float]]) -> bytes:
    """The metrics of several runs in Prometheus' text format, each with the time by its store's clock."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily

    families: dict[str, GaugeMetricFamily] = {}
    for status, now_s in statuses:
        for measure in measures(status, now_s):
            family = families.setdefault(
                measure.name,
                GaugeMetricFamily(PREFIX + measure.name, HELP[measure.name], labels=list(measure.labels)),
            )
            family.add_metric(list(measure.labels.values()), measure.value)

    class Collector:
        def collect(self) -> Iterable[GaugeMetricFamily]:
            return families.values()

    registry = CollectorRegistry()
    registry.register(Collector())
    return generate_latest(registry)
