"""Live progress for a person: what iteration, how good, how fast, what failed, what it cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from evolve.archive.core import Progress
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


class Telemetry:
    """Writes to stderr, so that stdout keeps the result alone. ``quiet`` silences all but errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._status = self.console.status("starting") if self.console.is_terminal and not quiet else None
        self._last_line_s = 0.0

    def __enter__(self) -> Telemetry:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, line: str) -> None:
        """One line that stays."""
        self.console.print(escape(line))

    def warn(self, line: str) -> None:
        self.console.print(f"[bold red]{escape(line)}[/]")

    def live(self, line: str) -> None:
        """One line that the next one replaces; where the output is no terminal, one every few seconds."""
        if self._status is not None:
            self._status.update(escape(line))
        elif time.monotonic() - self._last_line_s >= _LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            self.say(line)

    def snapshot(self, s: Snapshot) -> None:
        self.live(describe(s))


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
