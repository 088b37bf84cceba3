"""Writes ``csro.json``, a Grafana dashboard of csro's metrics: ``python -m deploy.grafana.build``.

The metrics come from Ray's agents as ``ray_csro_...`` or from the board as ``csro_...``; the queries take either.
Import the file in Grafana, or provision it; for Ray's dashboard to frame it keep its uid, ``csro``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.metrics import HELP

TARGET = Path(__file__).with_name("csro.json")
WIDTH, HEIGHT = 8, 8
_COLUMNS = 24 // WIDTH


@dataclass(frozen=True)
class Panel:
    """One graph: a metric, the labels that tell its series apart beside the run, and Grafana's name of its unit."""

    title: str
    metric: str
    by: tuple[str, ...] = ()
    unit: str = "none"

    @property
    def query(self) -> str:
        name = f'__name__=~"(ray_)?csro_{self.metric}"'
        return f'max by ({", ".join(("run", *self.by))}) ({{{name}, run=~"$run"}})'

    @property
    def legend(self) -> str:
        return " ".join(f"{{{{{label}}}}}" for label in ("run", *self.by))


PANELS = (
    Panel("Best return per island", "island_best_return", ("island",)),
    Panel("Mean return per island", "island_mean_return", ("island",)),
    Panel("Programs per island", "island_programs", ("island",)),
    Panel("Iteration", "iteration"),
    Panel("Programs evaluated in this search", "programs_committed"),
    Panel("Programs per second", "programs_per_second"),
    Panel("Best return in this search", "best_return"),
    Panel("Its standard error", "best_return_stderr"),
    Panel("Failures by kind", "programs_failed", ("kind",)),
    Panel("LLM calls in flight", "llm_calls_in_flight"),
    Panel("LLM calls", "llm_calls"),
    Panel("Tokens", "llm_tokens", ("direction",)),
    Panel("Price", "llm_usd", unit="currencyUSD"),
    Panel("Budget spent", "budget_share", ("limit",), unit="percentunit"),
    Panel("Driver alive", "driver_alive"),
)

RUNS = 'label_values({__name__=~"(ray_)?csro_iteration"}, run)'


def dashboard() -> dict[str, Any]:
    return {
        "uid": "csro",
        "title": "csro",
        "tags": ["csro"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_datasource(), _runs()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "source", "type": "datasource", "query": "prometheus"}


def _runs() -> dict[str, Any]:
    return {
        "name": "run",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": RUNS, "refId": "runs"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": HELP[panel.metric],
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": WIDTH * column, "y": HEIGHT * row, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [{"refId": "A", "expr": panel.query, "legendFormat": panel.legend}],
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
