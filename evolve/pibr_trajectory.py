"""Whole matches of a profile as text for a prompt: states, joint actions and rewards, step by step.

The utility feedback of PIBR (section 3.4, "Textual Loss Functions"). Written from the referee's own records; what a
program prints never gets here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from evolve.transcript import transcript
from games.core import FloatArray, Game, Observation
from games.seeds import episode_rng
from sandbox.lockstep import MatchRecord

_STEPS = 60
"""Lines shown of one match; of a longer one the first and the last of them."""
_LONGEST_STATE = 300
"""Characters."""
_SOURCES = ("my_source", "opponent_source")


def trajectories(game: Game, records: Sequence[MatchRecord], seat: int) -> str:
    """The matches of the lowest, median and highest social welfare, each once, worst first."""
    ranked = sorted(records, key=lambda record: (sum(record.returns), record.seed))
    places = sorted({0, (len(ranked) - 1) // 2, len(ranked) - 1}) if ranked else []
    shown = {_plain(game, ranked[place]): place for place in reversed(places)}  # equal matches are shown once
    names = {0: "The worst of {} matches", len(ranked) - 1: "The best of {} matches"}
    if len({_plain(game, record) for record in ranked}) == 1:
        names[0] = "All {} matches went alike" if len(ranked) > 1 else "The match"
    heads = {place: names.get(place, "The median of {} matches").format(len(ranked)) for place in places}
    return "\n\n".join(_match(game, ranked[place], seat, heads[place]) for place in sorted(shown.values()))


def _plain(game: Game, record: MatchRecord) -> tuple[object, ...]:
    """Equal for matches that began alike and went alike."""
    actions = record.actions.tobytes() if isinstance(record.actions, np.ndarray) else tuple(record.actions)
    return (_seen(game.new_episode(episode_rng(record.seed)).pending()), record.returns, actions)


def _match(game: Game, record: MatchRecord, seat: int, title: str) -> str:
    returns = ", ".join(f"player {i} {value:+.3f}" for i, value in enumerate(record.returns))
    head = f"{title}: social welfare {sum(record.returns):+.3f} (returns: {returns})"
    if isinstance(record.actions, np.ndarray):
        return f"{head}\n{transcript(game, record, seat)}"
    lines = [_numbered(range(*span), seen) for span, seen in _runs(_steps(game, record))]
    if len(lines) > _STEPS:
        left_out = len(lines) - _STEPS
        lines = [*lines[: _STEPS // 2], f"... {left_out} lines left out ...", *lines[-_STEPS // 2 :]]
    return "\n".join([head, *lines])


def _runs(steps: Iterator[str]) -> Iterator[tuple[tuple[int, int], str]]:
    """Equal steps in a row, once: ``(first, behind the last)`` and what happened. Matches that are stuck are long."""
    start = 0
    for seen, group in itertools.groupby(steps):
        end = start + sum(1 for _ in group)
        yield (start, end), seen
        start = end


def _numbered(steps: range, seen: str) -> str:
    return f"step {steps[0]}: {seen}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}, all alike: {seen}"


def _steps(game: Game, record: MatchRecord) -> Iterator[str]:
    """The match once more from its seed."""
    episode, log = game.new_episode(episode_rng(record.seed)), iter(record.actions)
    before: FloatArray = episode.returns()
    while pending := episode.pending():
        seen = _seen(pending)
        actions = dict(next(log) for _ in pending)  # type: ignore[call-overload]
        episode.step(actions)
        after = episode.returns()
        moves = ", ".join(f"player {i}: {action}" for i, action in sorted(actions.items()))
        rewards = ", ".join(f"{value:+.3g}" for value in after - before)
        yield f"{seen} | actions {moves} | rewards {rewards}"
        before = after


def _seen(pending: Mapping[int, Observation]) -> str:
    """What the players act on. Games with histories have one state for all, which is its last entry."""
    first = next(iter(pending.values()))
    states = first.get("state")
    if isinstance(states, list) and states:
        return f"state {_text(states[-1])}"
    return "; ".join(f"player {i} sees {_text(_without_sources(seen))}" for i, seen in pending.items())


def _without_sources(observation: Observation) -> dict[str, object]:
    return {key: value for key, value in observation.items() if key not in _SOURCES}


def _text(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), default=str)
    return text if len(text) <= _LONGEST_STATE else f"{text[:_LONGEST_STATE]} ... (cut)"
