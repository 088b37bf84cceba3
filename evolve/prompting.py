"""Prompts: what a model is told, built from text files in ``evolve/prompts/``.

Programs of others are shown as fenced data, heaviest opponents first; what does not fit is left out, and the prompt
says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import jinja2

from evolve.candidate import Candidate, Operator
from evolve.llm.core import Prompt
from evolve.mutation import BLOCK_START
from evolve.program import Program
from evolve.scoring import LINEUP, OpponentReturn, Scored
from games.core import GameBrief
from sandbox.limits import Limits

OpponentInput = Literal["code", "description", "both", "none"]
OpponentFilter = Literal["none", "top_k", "min_support"]


@dataclass(frozen=True)
class PromptSettings:
    """What prompts show and how answers are sampled.

    ``opponent_filter`` is one of the paper's three (CSRO section 2.4.1): all, the ``top_k`` heaviest, or those of
    weight at least ``min_support``. ``opponent_chars`` bounds the text about opponents. ``limits`` are those that
    programs run under.
    """

    opponent_input: OpponentInput = "code"
    opponent_filter: OpponentFilter = "top_k"
    top_k: int = 5
    min_support: float = 0.05
    opponent_chars: int = 48_000
    temperature: float = 1.0
    max_output_tokens: int = 8192
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class OpponentView:
    """One opponent as a prompt shows it; empty text is not shown."""

    name: str
    weight: float
    source: str = ""
    description: str = ""


@dataclass(frozen=True)
class OpponentsView:
    """The part of the mixture that is shown, heaviest first, and an account of the rest."""

    shown: tuple[OpponentView, ...]
    hidden: int = 0
    hidden_weight: float = 0.0
    hidden_reason: str = ""


@dataclass(frozen=True)
class _Row:
    name: str
    weight: float
    result: OpponentReturn


def visible_opponents(weights: Mapping[str, float], settings: PromptSettings) -> list[str]:
    """Ids of the opponents that pass the filter, heaviest first; those of weight zero never do, the heaviest always."""
    ranked = sorted((i for i, w in weights.items() if w > 0), key=lambda i: (-weights[i], i))
    if settings.opponent_filter == "top_k":
        return ranked[: settings.top_k]
    if settings.opponent_filter == "min_support":
        return [i for i in ranked if weights[i] >= settings.min_support] or ranked[:1]
    return ranked


def view_opponents(
    programs: Mapping[str, Program],
    weights: Mapping[str, float],
    settings: PromptSettings,
    descriptions: Mapping[str, str],
    seats: Mapping[str, Sequence[int]] | None = None,
) -> OpponentsView:
    """The opponents as the prompt shows them, in at most ``settings.opponent_chars`` characters of what is theirs:
    the first that does not fit is left out, with all that are lighter. ``seats`` tells in which seats an opponent plays
    where there are several."""
    support = [i for i, w in weights.items() if w > 0]
    if settings.opponent_input == "none":
        return OpponentsView(())
    shown: list[OpponentView] = []
    left = settings.opponent_chars
    passed = visible_opponents(weights, settings)
    for opponent in passed:
        view = OpponentView(
            name=opponent_name(opponent) + _seats_text((seats or {}).get(opponent, ())),
            weight=weights[opponent],
            source=programs[opponent].source if settings.opponent_input in ("code", "both") else "",
            description=descriptions.get(opponent, "") if settings.opponent_input in ("description", "both") else "",
        )
        left -= len(view.source) + len(view.description)
        if left < 0:
            break
        shown.append(view)
    hidden = len(support) - len(shown)
    too_long, too_light = len(shown) < len(passed), len(passed) < len(support)
    reason = " or ".join(["too long for this prompt"] * too_long + ["lighter than those shown"] * too_light)
    return OpponentsView(tuple(shown), hidden, max(0.0, sum(weights[i] for i in support) - _total(shown)), reason)


def proposal_prompt(
    brief: GameBrief,
    opponents: OpponentsView,
    settings: PromptSettings,
    directive: Operator,
    *,
    weights: Mapping[str, float],
    seat: int | None = None,
    parent: Candidate | None = None,
    inspirations: Sequence[Candidate] = (),
    rejected: Candidate | None = None,
    sample: str = "",
) -> Prompt:
    """The request for one child: a change of ``parent``, or a new program where there is none.

    ``seat`` is the one it plays, ``None`` where seats change. ``rejected`` is an attempt that was not kept.
    ``sample`` names the proposal, so that equal texts are recorded apart."""
    scored = parent is not None and isinstance(parent.evaluation, Scored)
    user = _render(
        "propose.txt",
        brief=brief,
        limits=settings.limits,
        opponents=opponents,
        directive=directive,
        seat_note="Seats change from match to match." if seat is None else f"Your program is always player {seat}.",
        marked=BLOCK_START in (parent.program.source if parent else brief.seed_program),
        rejected=rejected,
        rejected_scored=rejected is not None and isinstance(rejected.evaluation, Scored),
        parent=parent,
        parent_scored=scored,
        parent_rows=_rows(parent, weights),
        inspirations=[c for c in inspirations if isinstance(c.evaluation, Scored)],
    )
    return _prompt(user, settings, sample)


def description_prompt(brief: GameBrief, program: Program, settings: PromptSettings) -> Prompt:
    """The request for a description of an opponent. The same program asks the same request, so it is paid for once."""
    return _prompt(_render("describe.txt", brief=brief, program=program), settings, "")


def opponent_name(key: str) -> str:
    """Of an opponent by its id, or of a line-up of several."""
    ids = key.split(LINEUP)
    return ("opponent " if len(ids) == 1 else "opponents ") + ", ".join(i[:8] for i in ids)


def _seats_text(seats: Sequence[int]) -> str:
    return f" as player {' and '.join(map(str, seats))}" if seats else ""


def fence(text: str, language: str = "") -> str:
    """Text as a fenced block, its fence longer than any run of backticks in it: it cannot be closed from inside."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    ticks = "`" * (longest + 1)
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


def _rows(parent: Candidate | None, weights: Mapping[str, float]) -> list[_Row]:
    if parent is None or not isinstance(parent.evaluation, Scored):
        return []
    results = parent.evaluation.by_opponent
    ranked: Iterable[str] = sorted(results, key=lambda i: (-weights.get(i, 0.0), i))
    return [_Row(opponent_name(i), weights.get(i, 0.0), results[i]) for i in ranked]


def _prompt(user: str, settings: PromptSettings, sample: str) -> Prompt:
    return Prompt(
        system=_render("system.txt"),
        user=user,
        temperature=settings.temperature,
        max_output_tokens=settings.max_output_tokens,
        sample=sample,
    )


def _total(views: Iterable[OpponentView]) -> float:
    return sum(view.weight for view in views)


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "prompts"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,
    )
    environment.filters["fence"] = fence
    return environment
