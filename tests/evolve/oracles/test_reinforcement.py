"""Reinforcement learning as an oracle: checkpoints in their order, and the same after a kill at any place."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from evolve.archive.core import ArchiveSettings
from evolve.llm.core import BudgetExhaustedError
from evolve.oracles import reinforcement
from evolve.oracles.archive_search import Effort, OracleSetup
from evolve.oracles.core import Response
from evolve.program import Program
from evolve.reinforcement.core import Trained, TrainingFailedError, TrainingStage
from evolve.reinforcement.training import train
from evolve.scoring import ScoringTask
from games.registry import make_game
from sandbox.faults import SandboxError
from sandbox.limits import Limits
from sandbox.referee import Referee
from tests.evolve.oracles.toys import ScriptedLLM, World, program, source, task
from workers.settings import SettingsError, load_experiment

EFFORT = Effort(training_steps=90, checkpoints=4)


@dataclass
class ToyTrainer:
    """A stage more, a strength more; ``dies_at`` is the stage at which it is killed."""

    dies_at: int = -1
    stages: list[TrainingStage] = field(default_factory=list)

    async def train(self, stage: TrainingStage) -> Trained:
        done = len(stage.state)
        if done == self.dies_at:
            raise SandboxError("killed")
        self.stages.append(stage)
        return Trained(stage.state + b"x", source(float(done)))


def silent(_: object) -> str:
    raise AssertionError("no model is asked")


def setup(w: World, trainer: ToyTrainer) -> OracleSetup:
    w.archive = reinforcement.shape(ArchiveSettings(return_scale=10.0), EFFORT)
    return replace(w.setup(), trainer=trainer, effort=EFFORT)


async def respond(w: World, trainer: ToyTrainer) -> Response:
    return await reinforcement.create(setup(w, trainer)).respond(task())


async def test_each_checkpoint_is_a_candidate_and_trained_on_from_the_one_before() -> None:
    w, trainer = World(ScriptedLLM(silent)), ToyTrainer()
    response = await respond(w, trainer)
    assert response.best is not None and response.best.candidate.program == program(3.0)
    assert (response.programs, w.finished) == (4, [True])
    assert [len(stage.state) for stage in trainer.stages] == [0, 1, 2, 3]
    assert [stage.steps for stage in trainer.stages] == [23] * 4
    assert len({stage.seed for stage in trainer.stages}) == 4
    assert [(e["proposal"], e["operator"]) for e in w.commits()] == [(k, "train") for k in range(4)]


@pytest.mark.parametrize("stage", range(4))
async def test_a_killed_training_goes_on_where_it_was(stage: int) -> None:
    whole, w = World(ScriptedLLM(silent)), World(ScriptedLLM(silent))
    await respond(whole, ToyTrainer())
    with pytest.raises(SandboxError):
        await respond(w, ToyTrainer(dies_at=stage))
    again, trainer = w.again(ScriptedLLM(silent)), ToyTrainer()
    await respond(again, trainer)
    assert [len(each.state) for each in trainer.stages] == list(range(stage, 4))
    assert again.commits() == whole.commits()


async def test_a_checkpoint_that_was_kept_and_not_handed_in_is_handed_in() -> None:
    whole, w = World(ScriptedLLM(silent)), World(ScriptedLLM(silent))
    await respond(whole, ToyTrainer())
    scoring = w.scorer.score

    async def killed(program_: Any, asked: ScoringTask) -> Any:
        if program_ == program(2.0):
            raise SandboxError("killed")
        return await scoring(program_, asked)

    w.scorer.score = killed  # type: ignore[method-assign]
    with pytest.raises(SandboxError):
        await respond(w, ToyTrainer())
    again, trainer = w.again(ScriptedLLM(silent)), ToyTrainer()
    await respond(again, trainer)
    assert [len(each.state) for each in trainer.stages] == [3]
    assert again.commits() == whole.commits()


async def test_a_drained_training_ends_after_the_stage_under_way() -> None:
    w, trainer = World(ScriptedLLM(silent)), ToyTrainer()
    made = setup(w, trainer)
    oracle = reinforcement.create(made)
    fleet = oracle._fleet  # type: ignore[attr-defined]

    class Draining(ToyTrainer):
        async def train(self, stage: TrainingStage) -> Trained:
            await fleet.drain()
            return await super().train(stage)

    fleet._setup = replace(made, trainer=Draining())
    response = await oracle.respond(task())
    assert (response.programs, w.finished) == (1, [False])


async def test_a_replay_ends_where_the_training_did() -> None:
    """By the error that stands for what was never committed."""

    class Ending(ToyTrainer):
        async def train(self, stage: TrainingStage) -> Trained:
            if stage.sample == "br-000/2":
                raise BudgetExhaustedError
            return await super().train(stage)

    w = World(ScriptedLLM(silent))
    response = await respond(w, Ending())
    assert (response.programs, w.finished) == (2, [False])


def test_games_without_features_and_a_missing_extra_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="learns from numbers"):
        load_experiment("pibr_climbing", ["oracle.kind=reinforcement"])
    assert load_experiment("rrps_reinforcement").oracle.kind == "reinforcement"
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jax" else found(name))
    with pytest.raises(SettingsError, match=r"needs JAX: pip install 'csro\[reinforcement\]'"):
        load_experiment("rrps_reinforcement")


def test_a_training_whose_matches_all_fail_says_why() -> None:
    game = make_game("repeated_rps", num_rounds=50)
    crashing = Program("class Policy:\n    def __init__(self, player, seed):\n        raise OSError('no board')\n")
    scoring = ScoringTask({crashing.id: crashing}, {crashing.id: 1.0}, 8, seed=3)
    limits = Limits(cpu_s=30).override(game.spec.limits)
    with (
        Referee(limits) as referee,
        pytest.raises(TrainingFailedError, match=r"no match of the training came to its end; .*no board"),
    ):
        train(referee, game, TrainingStage("t/0", scoring, 1000, seed=1), limits)


ROTATION = """
class Policy:
    def __init__(self, player, seed):
        pass
    def act(self, observation):
        return observation["round"] % 3
"""

FOLDING = """
class Policy:
    def __init__(self, player, seed):
        pass
    def act(self, observation):
        return observation["legal_actions"][0]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "steps", "reached"),
    [("repeated_rps", {"num_rounds": 200}, 24_000, 120.0), ("repeated_leduc", {"num_hands": 20}, 12_000, 18.0)],
)
def test_training_beats_a_simple_opponent(
    name: str, parameters: dict[str, Any], steps: int, reached: float
) -> None:
    """In the sandbox, by the program that it becomes. The best there is are 200 and 20; at random it gets 0 and 15."""
    game = make_game(name, **parameters)
    opponent = Program(ROTATION if name == "repeated_rps" else FOLDING)
    scoring = ScoringTask({opponent.id: opponent}, {opponent.id: 1.0}, 8, seed=3)
    limits = Limits(cpu_s=30).override(game.spec.limits)
    with Referee(limits) as referee:
        trained = train(referee, game, TrainingStage("t/0", scoring, steps, seed=1), limits)
        outcomes = referee.play(game, [trained.source, opponent.source], seeds=range(100, 140), limits=limits)
        returns = [outcome.returns[0] for outcome in outcomes]  # type: ignore[union-attr]
        assert sum(returns) / len(returns) > reached
        again = train(referee, game, TrainingStage("t/0", scoring, 1000, seed=2, state=trained.state), limits)
        assert again.source != trained.source
        assert train(referee, game, TrainingStage("t/0", scoring, 1000, seed=2, state=trained.state), limits) == again
