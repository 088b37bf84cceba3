"""PSRO's best response by reinforcement learning: the baseline PSRO-IMPALA of the CSRO paper.

A recurrent network is trained by V-trace against the meta-strategy, anew in each iteration. It becomes a program (its
weights are in the text), so it is scored, promoted and met like any other. No model is asked.
"""

from __future__ import annotations

import importlib.util
from typing import cast

from evolve.archive.core import ArchiveSettings
from evolve.llm.core import BudgetExhaustedError
from evolve.oracles.archive_search import ArchiveSearch, DriverFleet, Effort, OracleSetup, one_line
from evolve.oracles.core import BestResponseOracle, BestResponseTask, MissingExtraError
from evolve.oracles.evolver import Search
from evolve.oracles.ordered import OrderedSearch
from evolve.oracles.proposer import Proposal
from evolve.program import Program
from evolve.reinforcement.core import Trained, TrainingStage
from evolve.reinforcement.features import features_of
from games.core import Game
from games.seeds import match_seed


class Training(DriverFleet):
    """The fleet: one training, whose checkpoints are its proposals. The last is kept, to go on from after a kill."""

    async def evolve(self, search: Search) -> bool:
        self._draining = False
        work, store, effort = OrderedSearch(self._setup, search), self._setup.store, self._setup.effort
        name = f"training:{search.task.task_id}"
        kept = store.load(name) or {"checkpoints": 0, "state": b"", "source": ""}
        done, trained = cast(int, kept["checkpoints"]), Trained(cast(bytes, kept["state"]), cast(str, kept["source"]))
        if done - 1 in work.open:
            await self._hand_in(work, done - 1, trained)
        for index in range(done, effort.checkpoints):
            if self._draining:
                return False
            try:
                trained = await self._train(search.task, index, trained.state)
            except BudgetExhaustedError:  # a replay of a run that ended here
                return False
            store.save(name, {"checkpoints": index + 1, "state": trained.state, "source": trained.source})
            await self._hand_in(work, index, trained)
        return True

    async def _train(self, task: BestResponseTask, index: int, state: bytes) -> Trained:
        trainer, effort = self._setup.trainer, self._setup.effort
        assert trainer is not None, "who makes this oracle has a trainer"
        steps = -(-effort.training_steps // effort.checkpoints)
        seed = match_seed(task.seed, "training", index)
        return await trainer.train(TrainingStage(f"{task.task_id}/{index}", task.scoring, steps, seed, state))

    async def _hand_in(self, work: OrderedSearch, index: int, trained: Trained) -> None:
        work.commit(index, await work.judge(Proposal(Program(trained.source), None, ""), "train"))


def check(game: Game) -> None:
    """Raises ``ValueError`` in games that give no numbers to learn from, ``MissingExtraError`` without JAX."""
    if features_of(game) is None:
        raise ValueError(f"learns from numbers, which repeated_rps and repeated_leduc give, not {game.spec.name}")
    if any(importlib.util.find_spec(name) is None for name in ("jax", "optax")):
        raise MissingExtraError("needs JAX: pip install 'csro[reinforcement]'")


def shape(archive: ArchiveSettings, effort: Effort) -> ArchiveSettings:
    """The checkpoints."""
    return one_line(archive, effort.checkpoints)


def create(setup: OracleSetup) -> BestResponseOracle:
    return ArchiveSearch(setup, Training(setup))
