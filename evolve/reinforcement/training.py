"""One stage of training against a mixture of programs: matches in the sandbox, then updates, in turns.

The learner's policy plays as the program that it becomes, so what is trained is what is promoted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evolve.reinforcement.core import Trained, TrainingFailedError, TrainingStage
from evolve.reinforcement.features import Features, features_of
from evolve.reinforcement.learner import Learner
from evolve.reinforcement.program import policy_program
from evolve.reinforcement.trajectories import trajectory
from games.core import Game
from games.seeds import match_seed
from sandbox.faults import Fault
from sandbox.limits import Limits
from sandbox.lockstep import Outcome
from sandbox.referee import Referee

_FEWEST_MATCHES, _MOST_MATCHES, _MOVES = 4, 256, 4_000
"""Between two updates: about so many moves, in no fewer and no more matches than these."""


def train(referee: Referee, game: Game, stage: TrainingStage, limits: Limits) -> Trained:
    """See :meth:`evolve.reinforcement.core.Trainer.train`. Matches in which either side fails teach nothing; where
    all of a round do, the training has failed."""
    features = features_of(game)
    assert features is not None, "the oracle checks that the game has features"
    learner = _learner(game, stage, features)
    goal, number = learner.steps + stage.steps, 0
    while learner.steps < goal:
        source = _program(learner, game, stage, features)
        count = _FEWEST_MATCHES
        if learner.matches:
            count = int(np.clip(_MOVES // learner.match_length, _FEWEST_MATCHES, _MOST_MATCHES))
        outcomes = _play(referee, game, source, stage, count, match_seed(stage.seed, "rollout", number), limits)
        played = [trajectory(game, each, seat, features) for seat, each in outcomes if not isinstance(each, Fault)]
        played = [each for each in played if len(each)]
        if not played:
            raise TrainingFailedError(_why([each for _, each in outcomes if isinstance(each, Fault)]))
        length = learner.match_length if learner.matches else sum(map(len, played)) / len(played)
        low, high = game.spec.return_range
        rng = np.random.default_rng(match_seed(stage.seed, "order", number))
        learner.learn(played, (high - low) / 2 / length, rng)
        number += 1
    return Trained(learner.dump(), _program(learner, game, stage, features))


def _learner(game: Game, stage: TrainingStage, features: Features) -> Learner:
    num_actions = game.spec.num_actions
    width = len(features(game.brief.smoke_observations[0], num_actions))
    learner = Learner(width, num_actions, stage.seed)
    if stage.state:
        learner.load(stage.state)
    return learner


def _program(learner: Learner, game: Game, stage: TrainingStage, features: Features) -> str:
    opponents = len(stage.scoring.weights)
    return policy_program(learner.weights(), features, game.spec.num_actions, learner.steps, opponents)


def _play(
    referee: Referee,
    game: Game,
    source: str,
    stage: TrainingStage,
    count: int,
    seed: int,
    limits: Limits,
) -> list[tuple[int, Outcome]]:
    """The learner's seat in each of ``count`` matches, and how they ended. The line-ups are drawn from the mixture, and
    the seats taken in turn where they are swapped."""
    scoring = stage.scoring
    lineups = list(scoring.lineups().values())
    chances = np.array(list(scoring.weights.values()))
    drawn = np.random.default_rng(seed).choice(len(lineups), count, p=chances / chances.sum())
    seats = (0, 1) if game.spec.swaps_seats and not scoring.in_profile else (scoring.player,)
    found: list[tuple[int, Outcome]] = []
    for place, others in enumerate(lineups):
        for turn, seat in enumerate(seats):
            seeds = [match_seed(seed, k) for k in np.flatnonzero(drawn == place)[turn :: len(seats)].tolist()]
            if not seeds:
                continue
            players = (*others[:seat], source, *others[seat:])
            found += [(seat, each) for each in referee.play(game, players, seeds=seeds, limits=limits)]
    return found


def _why(faults: Sequence[Fault]) -> str:
    if not faults:
        return "the learner had no move in any match of its training"
    first = faults[0]
    return (
        f"no match of the training came to its end; the first ended with {first.kind.value} of player {first.player}: "
        f"{' '.join(first.detail.split())}. Are the sandbox's limits too tight?"
    )
