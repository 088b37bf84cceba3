"""Modal agents as programs of a game of programs, and what they can prove of the texts they meet.

A proof must be about the text itself, so an agent understands exactly two kinds: the modal agents, as
:func:`modal_program` spells them, and programs that return a constant, as :func:`constant_program` does. Of any other
text it proves nothing, and plays accordingly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from games.modal_agents import play

Actions = tuple[int, int]
"""An action for each seat."""

_MODAL = '''\
from games.modal_programs import cooperates

AGENT = "{agent}"
COOPERATE = {cooperate}
DEFECT = {defect}


def policy(observation):
    """{doc}"""
    will = cooperates(AGENT, COOPERATE, DEFECT, observation["opponent_source"], observation["player"])
    return (COOPERATE if will else DEFECT)[observation["player"]]
'''
_CONSTANT = '''\
ACTIONS = ({first}, {second})


def policy(observation):
    """{doc}"""
    return ACTIONS[observation["player"]]
'''
_DOCS = {
    "FairBot": "Cooperates with those of whom it can prove that they cooperate with it.",
    "PrudentBot": "Cooperates with those who provably cooperate with it and, provably, not with DefectBot.",
    "JustBot": "Cooperates with those who provably cooperate with FairBot.",
}
_CONSTANT_TEXT = re.compile(
    re.escape(_CONSTANT)
    .replace(r"\{first\}", "([0-9]+)")
    .replace(r"\{second\}", "([0-9]+)")
    .replace(r"\{doc\}", r'[^"\\\r\n]*')
)


def constant_program(actions: Actions, doc: str) -> str:
    """A program that plays its seat's action against everyone."""
    return _CONSTANT.format(first=actions[0], second=actions[1], doc=doc)


def modal_program(agent: str, cooperate: Actions, defect: Actions) -> str:
    """FairBot, PrudentBot or JustBot of :mod:`games.modal_agents`, for a game with these actions."""
    return _MODAL.format(agent=agent, cooperate=cooperate, defect=defect, doc=_DOCS[agent])


def modal_programs(cooperate: Actions, defect: Actions) -> Mapping[str, str]:
    """Texts of ``modal_fair_bot``, ``prudent_bot`` and ``just_bot``."""
    names = {"modal_fair_bot": "FairBot", "prudent_bot": "PrudentBot", "just_bot": "JustBot"}
    return {name: modal_program(agent, cooperate, defect) for name, agent in names.items()}


def cooperates(agent: str, cooperate: Actions, defect: Actions, opponent_source: str, player: int) -> bool:
    """Whether modal agent ``agent``, in seat ``player``, cooperates with the program ``opponent_source``.

    One of which nothing can be proved gets what the agent does where all proofs fail: all three defect.
    """
    opponent = identify(opponent_source, cooperate, defect, 1 - player)
    return opponent is not None and play(agent, opponent)[0]


def identify(source: str, cooperate: Actions, defect: Actions, player: int) -> str | None:
    """The agent of :data:`games.modal_agents.AGENTS` that ``source`` provably is in seat ``player``, if any."""
    for agent in _DOCS:
        if source == modal_program(agent, cooperate, defect):
            return agent
    if constant := _CONSTANT_TEXT.fullmatch(source):
        action = int(constant[1 + player])
        if action in (cooperate[player], defect[player]):
            return "CooperateBot" if action == cooperate[player] else "DefectBot"
    return None
