"""Results as tables for a terminal, each figure with its standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from workers.profile_tables import profile_tables
from workers.telemetry import counts

_SHOWN_OPPONENTS = 5
_DRAWN = {"pop_return": "PopReturn", "pop_expl": "PopExpl (split-half)", "agg_score": "AggScore (split-half)"}


def print_tables(tables: Iterable[Table]) -> None:
    """To stdout, for they are the result."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    for table in tables:
        console.print(table)


def run_tables(summary: Mapping[str, Any]) -> list[Table]:
    """A finished run: its iterations, and its final mixture against the reference population, or its profile."""
    final = summary["final"]
    if summary["method"] == "pibr":
        return [_iterations(summary["iterations"]), *profile_tables(final)]
    tables = [_iterations(summary["iterations"]), _mixture(final)]
    return tables if final.get("pop_return") is None else [*tables, *population_tables(final)]


def population_tables(result: Mapping[str, Any]) -> list[Table]:
    """PopReturn, PopExpl and AggScore, then the opponents that did best and worst."""
    basis = "exact values" if result["exact"] else f"{result['matches_per_bot']} matches per bot"
    metrics = Table(title=f"against the reference population, {basis}")
    metrics.title_justify = "left"
    for heading in ("metric", "value", "stderr"):
        metrics.add_column(heading, justify="left" if heading == "metric" else "right")
    names = {
        "pop_return": "PopReturn",
        "pop_expl": "PopExpl (split-half)",
        "agg_score": "AggScore (split-half)",
        "pop_expl_naive": "PopExpl (naive maximum, biased upward)",
        "agg_score_naive": "AggScore (naive)",
    }
    if result["exact"]:
        names = {"pop_return": "PopReturn", "pop_expl": "PopExpl", "agg_score": "AggScore"}
    drawn = {f"drawn_{key}": f"{name}, a policy drawn per match" for key, name in _DRAWN.items()}
    names |= {key: name for key, name in drawn.items() if key in result}
    for key, name in names.items():
        metrics.add_row(name, *_figures(result[key], result[f"{key}_stderr"]))
    if (conv := result.get("nash_conv")) is not None:
        metrics.add_row("NashConv (exact)", f"{conv:.4g}", "0.00")
    return [metrics, _extremes(result["by_opponent"])]


def _extremes(by_opponent: Mapping[str, Mapping[str, float | None]]) -> Table:
    ranked = sorted(by_opponent.items(), key=lambda item: item[1]["mean"] or 0.0)
    table = Table(title=f"opponents: the {_SHOWN_OPPONENTS} hardest and easiest", title_justify="left")
    for heading in ("opponent", "mean return", "stderr"):
        table.add_column(heading, justify="left" if heading == "opponent" else "right")
    shown = ranked if len(ranked) <= 2 * _SHOWN_OPPONENTS else [*ranked[:_SHOWN_OPPONENTS], *ranked[-_SHOWN_OPPONENTS:]]
    for name, entry in shown:
        table.add_row(name, *_figures(entry["mean"], entry["stderr"]))
    return table


def _figures(value: float | None, stderr: float | None) -> tuple[str, str]:
    return ("" if value is None else f"{value:+.2f}", "unknown" if stderr is None else f"{stderr:.2f}")


def _iterations(iterations: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(title="best responses, re-scored on seeds the search never saw", title_justify="left")
    for heading in ("iteration", "answers", "best response", "return ± stderr", "matches", "programs", "failures", "s"):
        table.add_column(heading, justify="left" if heading in ("best response", "failures") else "right")
    for entry in iterations:
        best, policies = entry["best_response"], len(entry["opponents"])
        table.add_row(
            str(entry["iteration"]),
            f"{policies} {'policy' if policies == 1 else 'policies'}",
            best["id"] if best else "none",
            f"{best['mean_return']:+.2f} ± {best['stderr']:.2f}" if best else "",
            str(best["matches"]) if best else "",
            str(entry["programs_scored"]),
            counts(entry["failures"]),
            f"{entry['wall_s']:.1f}",
        )
    return table


def _mixture(final: Mapping[str, Any]) -> Table:
    table = Table(title="final meta-strategy", title_justify="left")
    table.add_column("policy")
    table.add_column("weight", justify="right")
    for program_id, weight in final["meta_strategy"].items():
        table.add_row(program_id, f"{weight:.4f}")
    return table
