"""Live progress: what iteration, how good, how fast, what failed, what it cost. For a person as lines on stderr; for
machines, with ``CSRO_LOG=json``, as one JSON object a line; for who watches from elsewhere, see :mod:`workers.status`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console
from rich.markup import escape

from evolve.archive.progress import Progress
from evolve.candidate import Candidate
from evolve.llm.budget import Budget, Usage
from evolve.scoring import Scored

_LINE_EVERY_S = 5.0  # where the output is no terminal, a line this often


@dataclass(frozen=True)
class Snapshot:
    """What is known about the search under way."""

    iteration: int
    iterations: int
    progress: Progress
    best: Candidate | None
    programs_per_s: float
    spent: Usage
    budget: Budget


class Watcher(Protocol):
    """Told of every line and snapshot as it is shown."""

    def line(self, text: str) -> None: ...

    def snapshot(self, snapshot: Snapshot) -> None: ...


class Telemetry:
    """Writes to stderr, so that stdout keeps the result alone. ``quiet`` silences all but errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._json = os.environ.get("CSRO_LOG") == "json" and not quiet
        self.console = Console(stderr=True, quiet=quiet or self._json, highlight=False, soft_wrap=True)
        self._status = self.console.status("starting") if self.console.is_terminal and not self.console.quiet else None
        self._last_line_s = 0.0
        self._watchers: list[Watcher] = []

    def __enter__(self) -> Telemetry:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def say(self, line: str) -> None:
        """One line that stays."""
        self._tell(line)
        self._show("info", line)

    def warn(self, line: str) -> None:
        self._tell(line)
        self._show("warning", line)

    def live(self, line: str) -> None:
        """One line that the next one replaces; where the output is no terminal, one every few seconds."""
        self._tell(line)
        if self._due(line):
            self._show("info", line)

    def snapshot(self, s: Snapshot) -> None:
        for watcher in self._watchers:
            watcher.snapshot(s)
        if self._due(describe(s)):
            self._show("info", describe(s), **fields(s) if self._json else {})

    def _tell(self, line: str) -> None:
        for watcher in self._watchers:
            watcher.line(line)

    def _due(self, line: str) -> bool:
        """Is a passing line to be written out? On a terminal it is shown in its place instead."""
        if self._status is not None:
            self._status.update(escape(line))
            return False
        if time.monotonic() - self._last_line_s < _LINE_EVERY_S:
            return False
        self._last_line_s = time.monotonic()
        return True

    def _show(self, level: str, line: str, **more: object) -> None:
        if self._json:
            time_now = datetime.now(UTC).isoformat(timespec="milliseconds")
            print(json.dumps({"time": time_now, "level": level, "message": line, **more}), file=sys.stderr, flush=True)
        elif level == "warning":
            self.console.print(f"[bold red]{escape(line)}[/]")
        else:
            self.console.print(escape(line))


def fields(s: Snapshot) -> dict[str, object]:
    """A snapshot as the fields of a structured log line."""
    best = s.best.evaluation if s.best is not None else None
    return {
        "iteration": s.iteration,
        "committed": s.progress.committed,
        "proposals": s.progress.proposals,
        "programs_per_s": round(s.programs_per_s, 3),
        "failures": dict(s.progress.failures),
        "best_return": best.mean_return if isinstance(best, Scored) else None,
        "best_stderr": best.stderr if isinstance(best, Scored) else None,
        "spent": asdict(s.spent),
    }


def describe(s: Snapshot) -> str:
    """A snapshot as one line."""
    best = "none yet"
    if s.best is not None and isinstance(s.best.evaluation, Scored):
        best = f"{s.best.evaluation.mean_return:+.1f} ± {s.best.evaluation.stderr:.1f}"
    return (
        f"iteration {s.iteration}/{s.iterations} | best return vs meta-strategy {best} | "
        f"{s.progress.committed}/{s.progress.proposals} programs, {s.programs_per_s:.1f}/s | "
        f"failures: {counts(s.progress.failures)} | budget: {budget_line(s.spent, s.budget)}"
    )


def counts(failures: Mapping[str, int]) -> str:
    ranked = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{kind} {count}" for kind, count in ranked) or "none"


def budget_line(spent: Usage, budget: Budget) -> str:
    """What is spent, each with its limit where there is one."""

    def part(value: str, limit: object) -> str:
        return value if limit is None else f"{value}/{limit}"

    tokens = spent.tokens_in + spent.tokens_out
    unpriced = f" (+{spent.unpriced_calls} calls of unknown price)" if spent.unpriced_calls else ""
    usd = f"{spent.usd:.4f} USD{unpriced}"
    return ", ".join(
        (f"calls {part(str(spent.llm_calls), budget.llm_calls)}", f"tokens {part(str(tokens), budget.tokens)}")
        + ((part(usd, budget.usd),) if spent.usd or spent.unpriced_calls or budget.usd is not None else ())
    )
