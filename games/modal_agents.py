"""Modal agents: players of an open-source Prisoner's Dilemma who cooperate if they can prove something of the other.

An agent is a formula of provability logic for every opponent (Barasz et al. 2014, "Robust cooperation in the Prisoner's
Dilemma"). Its letters are statements "X cooperates with Y", each of which is defined by X's own formula, and
``Provable(p)`` says that Peano arithmetic proves p. Who cooperates is decided on the linear frame 0 < 1 < 2 < ...:
at world n, ``Provable(p)`` holds if p holds at all worlds below n. A formula whose letters all stand under
``Provable`` is thereby determined world by world, which is Löb's theorem at work, and what holds from some world
on is true of the natural numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from games.core import FloatArray


@dataclass(frozen=True)
class Constant:
    value: bool


@dataclass(frozen=True)
class Cooperates:
    """The letter "``agent`` cooperates with ``opponent``"; both are names of agents."""

    agent: str
    opponent: str


@dataclass(frozen=True)
class Not:
    body: Formula


@dataclass(frozen=True)
class And:
    left: Formula
    right: Formula


@dataclass(frozen=True)
class Implies:
    left: Formula
    right: Formula


@dataclass(frozen=True)
class Provable:
    body: Formula


Formula = Constant | Cooperates | Not | And | Implies | Provable
Agent = Callable[[str, str], Formula]
"""``(own name, opponent's name) -> when it cooperates``."""
Outcome = tuple[bool, bool]
"""Whether the first and the second cooperate."""

FALSE = Constant(False)


def consistent(level: int) -> Formula:
    """Arithmetic stays consistent when that is added to it ``level - 1`` times; nothing is claimed at level 0."""
    statement: Formula = FALSE
    for _ in range(level):
        statement = Provable(statement)
    return Not(statement)


def provable_assuming_consistency(level: int, body: Formula) -> Formula:
    """Provable in PA + ``level``: Peano arithmetic with :func:`consistent` of each level up to it."""
    return Provable(Implies(consistent(level), body))


def _cooperate_bot(me: str, opponent: str) -> Formula:
    return Constant(True)


def _defect_bot(me: str, opponent: str) -> Formula:
    return FALSE


def _fair_bot(me: str, opponent: str) -> Formula:
    """Cooperates if the opponent provably cooperates with it."""
    return Provable(Cooperates(opponent, me))


def _prudent_bot(me: str, opponent: str) -> Formula:
    """As FairBot, but only with those who, provably in PA + 1, do not let DefectBot exploit them."""
    unexploited = provable_assuming_consistency(1, Not(Cooperates(opponent, "DefectBot")))
    return And(Provable(Cooperates(opponent, me)), unexploited)


def _just_bot(me: str, opponent: str) -> Formula:
    """Cooperates with those who provably cooperate with FairBot."""
    return Provable(Cooperates(opponent, "FairBot"))


AGENTS: Mapping[str, Agent] = {
    "CooperateBot": _cooperate_bot,
    "DefectBot": _defect_bot,
    "FairBot": _fair_bot,
    "PrudentBot": _prudent_bot,
    "JustBot": _just_bot,
}


def play(first: str, second: str, agents: Mapping[str, Agent] = AGENTS) -> Outcome:
    """Who cooperates when two agents meet. Raises ``KeyError`` for a name that is not in ``agents``."""
    forwards, backwards = Cooperates(first, second), Cooperates(second, first)
    truth = solve(_definitions((forwards, backwards), agents))
    return truth[forwards], truth[backwards]


def tournament(agents: Mapping[str, Agent] = AGENTS) -> dict[tuple[str, str], Outcome]:
    """Every agent against every agent, itself too."""
    return {(first, second): play(first, second, agents) for first in agents for second in agents}


def payoff_table(row: FloatArray, column: FloatArray, agents: Mapping[str, Agent] = AGENTS) -> FloatArray:
    """Payoffs ``(n, n, 2)`` between agents, in their order, in a game of two actions: 0 cooperate, 1 defect."""
    names = list(agents)
    results = tournament(agents)
    table = np.zeros((len(names), len(names), 2))
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            cell = tuple(int(not cooperates) for cooperates in results[first, second])
            table[i, j] = row[cell], column[cell]
    return table


def solve(definitions: Mapping[Cooperates, Formula]) -> dict[Cooperates, bool]:
    """The truth of letters, each defined by a formula in which letters stand under ``Provable`` only.

    ``ValueError`` for a letter outside. A ``Provable`` that fails once fails for ever, so there are no more different
    worlds than such subformulas; the first world like the one before it is like all that follow.
    """
    for letter, formula in definitions.items():
        if bare := next(_bare_letters(formula), None):
            raise ValueError(
                f"{letter.agent} looks at whether {bare.agent} cooperates with {bare.opponent}, not at a proof of it"
            )
    parts = [part for formula in definitions.values() for part in _parts(formula)]
    provable = {part: True for part in parts if isinstance(part, Provable)}
    while True:
        letters = {letter: _holds(formula, {}, provable) for letter, formula in definitions.items()}
        after = {box: held and _holds(box.body, letters, provable) for box, held in provable.items()}
        if after == provable:
            return letters
        provable = after


def _definitions(wanted: Sequence[Cooperates], agents: Mapping[str, Agent]) -> dict[Cooperates, Formula]:
    """The formulas of the wanted letters and of all that they speak of."""
    definitions: dict[Cooperates, Formula] = {}
    open_letters = list(wanted)
    while open_letters:
        letter = open_letters.pop()
        if letter not in definitions:
            definitions[letter] = agents[letter.agent](letter.agent, letter.opponent)
            open_letters += [part for part in _parts(definitions[letter]) if isinstance(part, Cooperates)]
    return definitions


def _children(formula: Formula) -> tuple[Formula, ...]:
    match formula:
        case Not(body) | Provable(body):
            return (body,)
        case And(left, right) | Implies(left, right):
            return left, right
        case _:
            return ()


def _parts(formula: Formula) -> Iterator[Formula]:
    yield formula
    for child in _children(formula):
        yield from _parts(child)


def _bare_letters(formula: Formula) -> Iterator[Cooperates]:
    """Letters that do not stand under ``Provable``."""
    if isinstance(formula, Cooperates):
        yield formula
    elif not isinstance(formula, Provable):
        for child in _children(formula):
            yield from _bare_letters(child)


def _holds(formula: Formula, letters: Mapping[Cooperates, bool], provable: Mapping[Provable, bool]) -> bool:
    """Truth at one world."""
    match formula:
        case Constant(value):
            return value
        case Cooperates():
            return letters[formula]
        case Not(body):
            return not _holds(body, letters, provable)
        case And(left, right):
            return _holds(left, letters, provable) and _holds(right, letters, provable)
        case Implies(left, right):
            return not _holds(left, letters, provable) or _holds(right, letters, provable)
        case Provable():
            return provable[formula]
