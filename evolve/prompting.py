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
from evolve.scoring import LINEUP, Evaluation, OpponentReturn, Scored
from games.core import GameBrief
from sandbox.limits import Limits

_PROMPTS = Path(__file__).parent / "prompts"

OpponentInput = Literal["code", "description", "both", "none"]
OpponentFilter = Literal["none", "top_k", "min_support"]


@dataclass(frozen=True)
class PromptSettings:
    """What prompts show and how answers are sampled.

    ``opponent_filter`` is one of the paper's three (CSRO section 2.4.1): all, the ``top_k`` heaviest, or those of
    weight at least ``min_support``. ``opponent_chars`` bounds the text about opponents. ``limits`` are those that
    programs run under. ``feedback`` shows a program's author what its matches brought: returns by opponent,
    part of a match, the traceback of a failure; nobody else is shown them.
    """

    opponent_input: OpponentInput = "code"
    opponent_filter: OpponentFilter = "top_k"
    top_k: int = 5
    min_support: float = 0.05
    opponent_chars: int = 48_000
    feedback: bool = True
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


@dataclass(frozen=True)
class _Attempt:
    operator: str
    evaluation: Evaluation
    scored: bool
    strategy: str


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
    partner: Candidate | None = None,
    inspirations: Sequence[Candidate] = (),
    rejected: Candidate | None = None,
    variant: str = "",
    notes: str = "",
    sample: str = "",
) -> Prompt:
    """The request for one child: a change of ``parent``, or a new program where there is none.

    ``seat`` is the one it plays, ``None`` where seats change. ``partner`` is the second parent of a crossover,
    ``rejected`` an attempt that was not kept, ``variant`` one of :func:`prompt_variants`, ``notes`` what a model wrote
    of earlier attempts. ``sample`` names the proposal, so that equal texts are recorded apart."""
    user = render(
        "propose.txt",
        brief=brief,
        limits=settings.limits,
        opponents=opponents,
        directive=directive,
        seat_note=_seat_note(seat),
        marked=BLOCK_START in (parent.program.source if parent else brief.seed_program),
        feedback=settings.feedback,
        rejected=rejected,
        rejected_scored=_is_scored(rejected),
        parent=parent,
        parent_scored=_is_scored(parent),
        transcript_opponent=_transcript_opponent(parent),
        partner=partner,
        rows={c.program.id: _rows(c, weights) if settings.feedback else [] for c in (parent, partner) if c},
        inspirations=[c for c in inspirations if _is_scored(c)],
        emphasis=render(f"variants/{variant}.txt").strip() if variant else "",
        notes=notes,
    )
    return _prompt(user, settings, sample)


def notes_prompt(
    brief: GameBrief,
    opponents: OpponentsView,
    settings: PromptSettings,
    attempts: Sequence[Candidate],
    *,
    notes: str,
    seat: int | None,
    sample: str,
) -> Prompt:
    """The request for an island's notes: its ``notes`` so far, and the latest ``attempts`` with what became of them.

    What an attempt brought in its matches is not shown: that is for its own line of descent."""
    user = render(
        "notes.txt",
        brief=brief,
        opponents=opponents,
        seat_note=_seat_note(seat),
        notes=notes,
        attempts=[_Attempt(c.operator, c.evaluation, _is_scored(c), c.program.docstring) for c in attempts],
    )
    return _prompt(user, settings, sample)


@cache
def prompt_variants() -> tuple[str, ...]:
    """Names of the files in ``prompts/variants``: each is a way to put the task, added to the request."""
    return tuple(sorted(file.stem for file in (_PROMPTS / "variants").glob("*.txt")))


def description_prompt(brief: GameBrief, program: Program, settings: PromptSettings) -> Prompt:
    """The request for a description of an opponent. The same program asks the same request, so it is paid for once."""
    return _prompt(render("describe.txt", brief=brief, program=program), settings, "")


def opponent_name(key: str) -> str:
    """Of an opponent by its id, or of a line-up of several."""
    ids = key.split(LINEUP)
    return ("opponent " if len(ids) == 1 else "opponents ") + ", ".join(i[:8] for i in ids)


def _is_scored(candidate: Candidate | None) -> bool:
    return candidate is not None and isinstance(candidate.evaluation, Scored)


def _transcript_opponent(parent: Candidate | None) -> str:
    evaluation = parent.evaluation if parent else None
    known = isinstance(evaluation, Scored) and evaluation.transcript_opponent
    return opponent_name(known) if known else ""


def _seat_note(seat: int | None) -> str:
    return "Seats change from match to match." if seat is None else f"Your program is always player {seat}."


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
        system=render("system.txt"),
        user=user,
        temperature=settings.temperature,
        max_output_tokens=settings.max_output_tokens,
        sample=sample,
    )


def _total(views: Iterable[OpponentView]) -> float:
    return sum(view.weight for view in views)


def render(template: str, **values: object) -> str:
    """A text file of ``evolve/prompts/`` filled in; a value that it asks for and does not get is an error."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PROMPTS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,
        auto_reload=False,
    )
    environment.filters["fence"] = fence
    return environment
