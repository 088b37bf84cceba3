"""What a stage of training takes and gives; who trains is behind :class:`Trainer`, since a driver has no sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from evolve.scoring import ScoringTask

UNITS = 64
"""Of the recurrent network, in each of its two states."""


@dataclass(frozen=True)
class TrainingStage:
    """Proposal ``sample`` of a search: at least ``steps`` further moves of the learner against the mixture of
    ``scoring``, in matches drawn from ``seed``. ``state`` is what the stage before left, empty at the start."""

    sample: str
    scoring: ScoringTask
    steps: int
    seed: int
    state: bytes = b""


@dataclass(frozen=True)
class Trained:
    """The learner's state after a stage, and the policy that it has come to, as the text of a program."""

    state: bytes
    source: str


class TrainingFailedError(RuntimeError):
    """Nothing can be learnt: one line that says why."""


class Trainer(Protocol):
    """Trains in a process that has a sandbox, for the opponents are programs nobody trusts."""

    async def train(self, stage: TrainingStage) -> Trained:
        """The same stage gives the same result on the same kind of processor, by the same versions of JAX.

        Raises :class:`TrainingFailedError`, or ``sandbox.faults.SandboxError`` if no isolated process can be had."""
        ...
