"""Plays the hostile corpus against a victim and judges each program by what the referee recorded.

As a script, ``python corpus_runner.py CAGE`` does so inside a cage of :mod:`cages` and prints one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import cages
import numpy as np
from hostile_corpus import CORPUS, ENVIRONMENT_SECRET, MARKER, Hostile

from games.program_game import program_bimatrix
from games.repeated_rps import RepeatedRPS
from sandbox.audit import moves_of
from sandbox.faults import Fault
from sandbox.limits import Limits
from sandbox.referee import Referee

SEED = 0x5EED_0F_7E575
GAME = RepeatedRPS(num_rounds=12)
LIMITS = Limits(
    load_timeout_s=0.6,
    move_timeout_s=0.25,
    kill_grace_s=0.1,
    cpu_s=5.0,
    memory_bytes=96 << 20,
    simulation_cpu_s=0.5,
)
PATIENT = replace(LIMITS, load_timeout_s=30.0, move_timeout_s=30.0, cpu_s=90.0)
"""For programs that come to an end by themselves, on a slow machine later: no deadline may hide how."""
VICTIM = f'''
import random

class Policy:
    """{MARKER}"""

    def __init__(self, player, seed):
        self.rng = random.Random(seed)
        self.secret = "{MARKER}"

    def act(self, observation):
        return self.rng.randrange(2)
'''
PROGRAM_GAME = program_bimatrix([[3, 0, 2], [4, 1, 2], [0, 0, 2]], [[3, 4, 0], [0, 1, 0], [2, 2, 2]], max_calls=48)
PROGRAM_VICTIM = f'''
import random

class Policy:
    """{MARKER}: shows in its move whether a program that it simulated got through."""

    def __init__(self, player, seed):
        self.rng = random.Random(seed)
        self.secret = "{MARKER[:10]}" + "{MARKER[10:]}"

    def act(self, observation):
        answer = simulate(observation["opponent_source"], observation["my_source"])
        return 2 if answer == 2 else self.rng.randrange(2)
'''


def always_rock(player: int, seed: int) -> object:
    class Rock:
        def act(self, observation: object) -> int:
            return 0

    return Rock()


def limits_for(program: Hostile) -> Limits:
    ends_by_itself = program.plays or (program.kinds and "timeout" not in program.kinds)
    return PATIENT if ends_by_itself else LIMITS


class Judge:
    """Knows what the victim plays when left alone."""

    def __init__(self, referee: Referee) -> None:
        self.referee = referee
        self.expected = self._victims_moves()
        harmless = self.referee.play(
            PROGRAM_GAME, ["def policy(o): return 0", PROGRAM_VICTIM], seeds=[SEED], limits=LIMITS
        )
        assert not isinstance(harmless[0], Fault), harmless[0]
        self.expected_of_program = moves_of(harmless[0], 1)
        assert 2 not in (*self.expected_of_program, *PROGRAM_GAME.defection), "2 is for breaches"

    def _victims_moves(self) -> list[int]:
        record = self.referee.play(GAME, [always_rock, VICTIM], seeds=[SEED], limits=LIMITS)[0]
        assert not isinstance(record, Fault), record
        return record.actions[:, 1].tolist()

    def problem(self, program: Hostile) -> str:
        """What is wrong with how ``program`` was handled; empty if it was stopped as it should."""
        if program.group == "simulate":
            return self._problem_in_programs(program)
        outcome = self.referee.play(GAME, [program.source, VICTIM], seeds=[SEED], limits=limits_for(program))[0]
        if isinstance(outcome, Fault):
            return self._problem_with_fault(program, outcome)
        if program.kinds:
            return f"played on, expected {sorted(program.kinds)}"
        if not program.plays and 2 in outcome.actions[:, 0]:
            return "breach"
        if outcome.actions[:, 1].tolist() != self.expected:
            return "the victim's moves changed"
        if outcome.returns != tuple(GAME.returns_from_actions(outcome.actions[np.newaxis])[0]):
            return "the returns are not those of the actions"
        return ""

    def _problem_in_programs(self, program: Hostile) -> str:
        """The same in the game of programs, where the victim simulates the hostile program."""
        outcome = self.referee.play(PROGRAM_GAME, [program.source, PROGRAM_VICTIM], seeds=[SEED], limits=LIMITS)[0]
        if isinstance(outcome, Fault):
            return self._problem_with_fault(program, outcome)
        if program.kinds:
            return f"played on, expected {sorted(program.kinds)}"
        if moves_of(outcome, 0) == [2]:
            return "breach"
        if moves_of(outcome, 1) != self.expected_of_program:
            return f"the victim's move became {moves_of(outcome, 1)}"
        if any(use.calls > PROGRAM_GAME.simulation.max_calls for use in outcome.simulations):
            return "it simulated more than it had fuel for"
        return ""

    @staticmethod
    def _problem_with_fault(program: Hostile, fault: Fault) -> str:
        shown = f"{fault.kind.value}: {fault.detail[:200]} {fault.traceback[-300:]}"
        if fault.player != 0:
            return f"blamed the victim: {shown}"
        if program.plays:
            return f"a legal answer was refused: {shown}"
        if program.kinds and fault.kind.value not in program.kinds:
            return f"expected {sorted(program.kinds)}, got {shown}"
        if len(fault.traceback) > 4000 or len(fault.detail) > 400:
            return "the fault's text is not capped"
        if "sandbox/" in fault.traceback or "policy_host" in fault.traceback:
            return f"harness frames in the traceback: {fault.traceback}"
        return ""


def main() -> None:
    cages.enter(sys.argv[1])
    os.environ[ENVIRONMENT_SECRET] = "sk-secret"
    with Referee(LIMITS) as referee:
        judge = Judge(referee)
        problems = {program.id: problem for program in CORPUS if (problem := judge.problem(program))}
        problems |= {} if judge._victims_moves() == judge.expected else {"after": "the victim plays differently"}
        print(json.dumps({"isolation": referee.isolation.to_json(), "problems": problems, "count": len(CORPUS)}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
