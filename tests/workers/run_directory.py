"""A run directory as a finished run leaves it, made small and by hand, for tests of what reads one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evolve.empirical_game import EmpiricalGame
from evolve.meta_solvers import meta_solver
from evolve.program import Program
from evolve.scoring import OpponentReturn


def policy_source(strategy: str, move: int) -> str:
    return f'''import random


class Policy:
    """{strategy}"""

    def __init__(self, player, seed):
        self.random = random.Random(seed)

    def act(self, observation):
        theirs = observation["opponent_actions"]
        if not theirs:
            return {move}
        return (theirs[-1] + {move}) % 3
'''


@dataclass(frozen=True)
class FinishedRun:
    path: Path
    programs: tuple[Program, ...]


def symmetric_game(ids: tuple[str, ...], rng: np.random.Generator) -> EmpiricalGame:
    game = EmpiricalGame("zero_sum", True, (ids,))
    for k, (first, second) in enumerate(game.missing()):
        game = game.with_payoff((first, second), OpponentReturn(float(rng.normal(-60, 90)), 6.5 + k % 3, 16))
    return game


def finished_run(path: Path, policies: int = 4, bots: int = 5, extra_source: str | None = None) -> FinishedRun:
    """Symmetric zero-sum CSRO run of ``policies - 1`` iterations against a population of ``bots``."""
    rng = np.random.default_rng(7)
    sources = [policy_source(f"Answers the last throw, shifted by {k}.", k) for k in range(policies)]
    if extra_source is not None:
        sources[-1] = extra_source
    programs = tuple(map(Program, sources))
    ids = tuple(program.id for program in programs)
    (path / "policies").mkdir(parents=True)
    for k, program in enumerate(programs):
        name = "seed" if k == 0 else f"br-{k - 1}"
        (path / "policies" / f"0-{k:02d}-{name}-{program.id}.py").write_text(program.source, encoding="utf-8")
    games = [symmetric_game(ids[: k + 1], np.random.default_rng(7)) for k in range(policies)]
    strategies = [meta_solver("nash")(game) for game in games]
    solved = [
        {"iteration": k, "meta_strategy": [dict(s.weights[0])], "values": list(s.values), **game.to_json()}
        for k, (game, s) in enumerate(zip(games, strategies, strict=True))
    ]
    write_json(path / "payoffs.json", {"iterations": solved})
    iterations = [
        {
            "iteration": k,
            "player": 0,
            "opponents": strategies[k].support(),
            "best_response": {"id": ids[k + 1], "mean_return": 200.0 - 31 * k, "stderr": 7.5, "matches": 64},
            "programs_scored": 160,
            "failures": {"timeout": 3, "illegal_action": k},
            "llm_calls": 160,
            "wall_s": 38.2 + 40 * k,
        }
        for k in range(policies - 1)
    ]
    by_opponent = {
        f"bot{k}": {"mean": float(rng.normal(20, 150)), "stderr": 4.2, "matches": 100, "forfeits": 0}
        for k in range(bots)
    }
    final = {
        "meta_strategy": dict(strategies[-1].weights[0]),
        **{"pop_return": 41.25, "pop_return_stderr": 1.25, "pop_expl": 310.5, "pop_expl_stderr": 4.5},
        **{"pop_expl_naive": 312.5, "pop_expl_naive_stderr": 4.5},
        **{"agg_score": -269.25, "agg_score_stderr": 4.75, "matches_per_bot": 100, "nemesis": "bot1"},
        **{"value": 0.0, "exploitability_in_pool": 1e-14},
        "by_opponent": by_opponent,
    }
    summary = {
        "run_id": "20261105-demo",
        **{"game": "repeated_rps", "method": "csro", "oracle": "alpha_evolve", "seed": 1},
        "sandbox": {"level": 4, "layers": ["no_new_privs", "landlock", "seccomp", "namespaces"]},
        "versions": {"csro": "0.1.0", "python": "3.11.7"},
        "budget": {"llm_calls": 480, "tokens_in": 1_200_000, "tokens_out": 310_500, "usd": 0.0},
        "iterations": iterations,
        "final": final,
    }
    write_json(path / "summary.json", summary)
    (path / "experiment.toml").write_text('method = "csro"\n\n[game]\nname = "repeated_rps"\n', encoding="utf-8")
    lines = [json.dumps(event) for event in [*island_events(policies - 1, rng), *promotions(programs)]]
    (path / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return FinishedRun(path, programs)


def island_events(iterations: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Four islands whose best return rises; island 3 is reset halfway and starts anew."""
    events: list[dict[str, object]] = []
    for iteration in range(iterations):
        best = np.sort(rng.normal(40, 60, (4, 16)), axis=1)
        for step in range(16):
            for island in range(4):
                epoch = int(island == 3 and step >= 8)
                shown = best[island, step - 8 if epoch else step]
                place = {"iteration": iteration, "island": island, "epoch": epoch, "committed": 10 * step}
                events.append({"type": "island", **place, "best": float(shown), "mean": float(shown) - 30, "t_s": step})
    return events


def promotions(programs: tuple[Program, ...]) -> list[dict[str, object]]:
    """Each program after the first: child of an unpooled program (its source kept) that came from the one before."""
    events: list[dict[str, object]] = []
    for k, program in enumerate(programs[1:]):
        between = Program(policy_source("On the way.", 7 + k))
        lineage = [
            {"id": program.id, "parents": [between.id], "operator": "edit", "score": 210.0, "stderr": 9.0},
            {
                **{"id": between.id, "parents": [programs[k].id], "operator": "full", "score": 150.0, "stderr": 9.5},
                "source": between.source,
            },
            {"id": programs[k].id, "parents": [], "operator": "seed", "score": 0.0, "stderr": 8.0},
        ]
        place = {"iteration": k, "id": program.id, "parents": [between.id], "operator": "edit"}
        events.append({"type": "promotion", **place, "lineage": lineage})
    return events


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
