"""What a game of programs says: its rules, the API with the contract of ``simulate``, and the texts of its programs."""

from __future__ import annotations

from collections.abc import Mapping

from games.briefs import common_rules
from games.modal_programs import Actions, constant_program, modal_programs
from games.simulation import SimulationLimits

_RULES = """\
{matrix}
This is a game of programs: each player submits a program, and each program reads the source text of both before it
chooses. What your program does may depend on what the other program says, on whether it equals your own, and on what it
does when simulated; and the other program may look at yours in the same ways."""

_POLICY_API = """\
class Policy:
    def __init__(self, player, seed): ...   # player: int, the seat: 0 chooses rows, 1 chooses columns; seed: int
    def act(self, observation): ...         # called once

act returns an action, an int, or a distribution over actions: a list of {num_actions} probabilities that add to 1.
A function policy(observation) that returns the same may be written instead of the class.
observation is a dict:
  "my_source", "opponent_source": str, the source texts of the two programs
  "player": int, the seat
  "state": [0] and "action": [], as in any matrix game at its start{legal}

simulate(source, opponent_source) is built in, without an import. It returns the action, an int, that the program text
source plays when it sits in the other seat against the program text opponent_source; both may be any texts, so
simulate(observation["opponent_source"], observation["my_source"]) asks what the opponent will do. The text is run
afresh with a seed of its own at each call: programs that draw random numbers may answer otherwise the next time, and in
the match itself. It sees its own text as "my_source", and may simulate in turn: two programs that always simulate each
other never come to an end by themselves.
Each player may run {max_calls} simulations in a match, those inside one another included, up to {max_depth} deep, on
one small account of processor time; their time does not count for the move that waits for them. One more than that, and
any of a program that fails (does not load, raises, gives no legal move, runs out of time or memory), returns a fixed
action: {fallback}. Nothing is raised, unless what is passed is not text (TypeError) or is too long (ValueError).
{common}"""

_LEGAL_ACTIONS = """
  "legal_actions": list of int, the seat's own actions; every other one has probability 0"""

_SEED_PROGRAM = '''\
import random


class Policy:
    """Asks half of the time what the opponent will do; whatever that is, plays every action with the same
    probability."""

    def __init__(self, player, seed):
        self.rng = random.Random(seed)

    def act(self, observation):
        # EVOLVE-BLOCK-START
        reply = 0
        if self.rng.random() < 0.5:
            reply = simulate(observation["opponent_source"], observation["my_source"])
        weights = {weights}[reply]
        # EVOLVE-BLOCK-END
        weights = [{weight} for action, w in enumerate(weights)]
        total = sum(weights)
        if total == 0:
            return {first}
        return [w / total for w in weights]
'''

_CLIQUE_BOT = '''\
COOPERATE = {cooperate}
DEFECT = {defect}


def policy(observation):
    """Cooperates with programs whose text is its own, and with no other."""
    same = observation["opponent_source"] == observation["my_source"]
    return (COOPERATE if same else DEFECT)[observation["player"]]
'''

_FAIR_BOT = '''\
import random

COOPERATE = {cooperate}
DEFECT = {defect}
EPSILON = {epsilon!r}


class Policy:
    """Does to the opponent what the opponent, simulated, does to it; with probability EPSILON cooperates at once, so
    that two of these come to an end."""

    def __init__(self, player, seed):
        self.player = player
        self.rng = random.Random(seed)

    def act(self, observation):
        if self.rng.random() < EPSILON:
            return COOPERATE[self.player]
        reply = simulate(observation["opponent_source"], observation["my_source"])
        return (COOPERATE if reply == COOPERATE[1 - self.player] else DEFECT)[self.player]
'''


def rules(matrix_rules: str) -> str:
    """The rules in words, from those of the matrix game."""
    return _RULES.format(matrix=matrix_rules)


def policy_api(num_actions: int, square: bool, simulation: SimulationLimits, fallback: Actions) -> str:
    """How to write a program; ``fallback`` is what a failed simulation counts as, by seat."""
    first, second = fallback
    return _POLICY_API.format(
        num_actions=num_actions,
        legal="" if square else _LEGAL_ACTIONS,
        max_calls=simulation.max_calls,
        max_depth=simulation.max_depth,
        fallback=f"{first}" if first == second else f"{first} for rows and {second} for columns",
        common=common_rules(),
    )


def seed_program(num_actions: int, square: bool) -> str:
    """Plays uniformly, and shows how to simulate."""
    return _SEED_PROGRAM.format(
        weights=[[1.0] * num_actions for _ in range(num_actions)],
        weight="max(0.0, w)" if square else 'max(0.0, w) if action in observation["legal_actions"] else 0.0',
        first=0 if square else 'observation["legal_actions"][0]',
    )


def reference_programs(cooperate: Actions, defect: Actions, epsilon: float) -> Mapping[str, str]:
    """Texts of ``cooperate_bot``, ``defect_bot``, ``clique_bot``, ``fair_bot`` and the modal agents."""
    return {
        "cooperate_bot": constant_program(cooperate, "Cooperates with every program."),
        "defect_bot": constant_program(defect, "Defects against every program."),
        "clique_bot": _CLIQUE_BOT.format(cooperate=cooperate, defect=defect),
        "fair_bot": _FAIR_BOT.format(cooperate=cooperate, defect=defect, epsilon=epsilon),
        **modal_programs(cooperate, defect),
    }
