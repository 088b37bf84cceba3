"""The Lua scripts mirror ``island.py`` and ``memory.py``: the same operations on both give the same archive."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace

from archive_builders import failed, scored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.archive.core import Archive, ArchiveSettings, Elite, Findings, Parents
from evolve.archive.memory import MemoryStore
from evolve.archive.redis import RedisStore
from evolve.candidate import Candidate
from evolve.scoring import Scored

STEPS = 150
OPERATORS = ("full", "edit", "crossover", "fix")
SHARES = st.sampled_from([(0.0, 0.0, 0.0), (0.4, 0.1, 0.1), (0.3, 0.4, 0.3), (1.0, 0.0, 0.0), (0.1, 0.2, 0.7)])
SHAPES = st.builds(
    lambda shares, **values: ArchiveSettings(
        edit_share=shares[0], crossover_share=shares[1], fix_share=shares[2], **values
    ),
    SHARES,
    selection=st.sampled_from(["clusters", "clusters", "map_elites"]),
    specialist_share=st.sampled_from([0.0, 0.3, 1.0]),
    variants=st.sampled_from([(), ("bold",), ("bold", "plain", "short")]),
    migration=st.sampled_from(["ring", "random"]),
    stagnation_limit=st.integers(0, 4),
    stagnation_action=st.sampled_from(["explore", "reseed"]),
    rescore_interval=st.integers(0, 3),
    notes_interval=st.integers(0, 3),
    num_islands=st.integers(1, 5),
    proposals=st.integers(1, 60),
    temperature=st.sampled_from([0.01, 0.1, 1.0, 30.0]),
    temperature_period=st.integers(0, 12),
    length_temperature=st.sampled_from([0.0, 0.01, 0.3, 3.0]),
    return_scale=st.sampled_from([1.0, 2.0, 3000.0]),
    num_inspirations=st.integers(0, 3),
    migration_interval=st.integers(0, 6),
    migrants=st.integers(0, 3),
    reset_interval=st.integers(0, 9),
    lease_s=st.just(1e6),
)


def candidate(rng: random.Random) -> Candidate:
    """One of few names, so that duplicates come up, with few distinct scores, so that ties do."""
    name = f"p{rng.randrange(200)}"
    if rng.random() < 0.2:
        return failed(name, rng.choice(["timeout", "memory", "no_match"]))
    score = rng.choice([0.0, -0.0, 1.0, -1.0, 0.1, rng.uniform(-10, 10), rng.gauss(0, 1)])
    opponent = rng.choice([0.0, 1.0, score])
    child = scored(name, score, padding=rng.choice([0, 0, 1, rng.randrange(400)]), opponent=opponent)
    assert isinstance(child.evaluation, Scored)
    traits = (rng.choice([0.0, 0.2, 0.5, 1.0]), rng.random())
    behaviour = rng.choice(["", "rocks", "swings", "waits"])
    return replace(
        child, operator=rng.choice(OPERATORS), evaluation=replace(child.evaluation, traits=traits, behaviour=behaviour)
    )


def findings(rng: random.Random, elite: Elite | None) -> Findings:
    """Now and then with a re-scoring, which may fail, and of an elite that another one may have come before."""
    revised = None
    if elite is not None and rng.random() < 0.8:
        score = rng.choice([0.0, rng.gauss(0, 1)])
        revised = scored("x", score).evaluation if rng.random() < 0.7 else failed("x").evaluation
    notes = rng.choice(["", "", "Mirror the last move."])
    return Findings(rng.random() < 0.5, rng.randrange(9), rng.randrange(3), 1, elite, revised, notes)


def uniforms(rng: random.Random) -> list[float]:
    """With the values at which a draw between equals falls on the boundary."""
    return [rng.choice([0.0, 0.25, 0.5, 0.75, 1 - 2**-53, rng.random(), rng.random()]) for _ in range(14)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1))
def test_both_archives_make_the_same_choices(redis_store: RedisStore, shape: ArchiveSettings, seed: int) -> None:
    rng = random.Random(seed)
    task = uuid.uuid4().hex
    pair = MemoryStore("run").archive(task, shape), redis_store.archive(task, shape)

    def both(operation: str, *arguments: object) -> object:
        in_memory, in_redis = (_answer(archive, operation, arguments) for archive in pair)
        assert in_memory == in_redis
        return in_memory

    both("found", [scored("seed", 0.5), *(candidate(rng) for _ in range(rng.randrange(6)))])
    tickets, elites = [], [None]
    for _ in range(STEPS):
        action = rng.choice([*3 * ["commit"], *2 * ["claim"], *2 * ["sample"], "renew", "expire_leases"])
        ticket = rng.choice(tickets[-6:]) if tickets else None
        if action == "expire_leases":
            both(action)
        elif action == "claim" or ticket is None:
            claimed = both("claim", "worker")
            tickets += [] if claimed is None else [claimed]
        elif action == "sample":
            drawn = both("sample_parents", ticket, uniforms(rng))
            elites += [drawn.elite] if isinstance(drawn, Parents) else []
        elif action == "renew":
            both("renew", [ticket])
        else:
            both("commit", ticket, candidate(rng), uniforms(rng), findings(rng, rng.choice(elites[-3:])))
    for view in ("progress", "operations"):
        both(view)
    best = both("best", 100)
    assert isinstance(best, list)
    for name in ("rocks", "swings", "unknown", *(each.program.id for each in best[:5])):
        both("seen", name, rng.randrange(60))
        both("candidate", name)


def _answer(archive: Archive, operation: str, arguments: tuple[object, ...]) -> object:
    try:
        return getattr(archive, operation)(*arguments)
    except ValueError as error:
        return str(error)
