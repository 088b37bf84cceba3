"""The Lua scripts mirror ``island.py`` and ``memory.py``: the same operations on both give the same archive."""

from __future__ import annotations

import uuid

from archive_builders import failed, scored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.archive.core import Archive, ArchiveSettings
from evolve.archive.memory import MemoryStore
from evolve.archive.redis import RedisStore
from evolve.candidate import Candidate

UNIFORM = st.floats(0, 1, exclude_max=True, allow_subnormal=False)
SCORE = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1]), st.floats(-10, 10, allow_subnormal=False))


@st.composite
def shapes(draw: st.DrawFn) -> ArchiveSettings:
    return ArchiveSettings(
        num_islands=draw(st.integers(1, 5)),
        proposals=draw(st.integers(1, 40)),
        temperature=draw(st.floats(0.01, 10)),
        temperature_period=draw(st.integers(1, 12)),
        length_temperature=draw(st.floats(0.05, 10)),
        return_scale=draw(st.sampled_from([1.0, 2.0, 3000.0])),
        num_parents=draw(st.integers(1, 3)),
        num_inspirations=draw(st.integers(0, 3)),
        migration_interval=draw(st.integers(0, 6)),
        migrants=draw(st.integers(0, 3)),
        reset_interval=draw(st.integers(0, 9)),
        lease_s=draw(st.sampled_from([1.0, 3.3, 1e6])),
    )


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    name = f"p{draw(st.integers(0, 60))}"
    if draw(st.integers(0, 4)) == 0:
        return failed(name, draw(st.sampled_from(["timeout", "memory", "no_match"])))
    return scored(name, draw(SCORE), padding=draw(st.integers(0, 5)), opponent=draw(SCORE))


STEP = st.tuples(
    st.sampled_from(["claim", "claim", "sample", "commit", "commit", "renew", "wait"]),
    st.integers(0, 7),
    candidates(),
    st.lists(UNIFORM, min_size=12, max_size=12),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=shapes(),
    founders=st.lists(candidates(), min_size=0, max_size=6),
    steps=st.lists(STEP, min_size=10, max_size=80),
)
def test_both_archives_make_the_same_choices(
    redis_store: RedisStore,
    shape: ArchiveSettings,
    founders: list[Candidate],
    steps: list[tuple[str, int, Candidate, list[float]]],
) -> None:
    task = uuid.uuid4().hex
    pair = MemoryStore("run").archive(task, shape), redis_store.archive(task, shape)

    def both(operation: str, *arguments: object) -> object:
        in_memory, in_redis = (_answer(archive, operation, arguments) for archive in pair)
        assert in_memory == in_redis
        return in_memory

    both("found", [scored("seed", 0.5), *founders])
    now_s, tickets = 0.0, []
    for action, which, candidate, uniforms in steps:
        ticket = tickets[-1 - which % len(tickets)] if tickets else None
        if action == "wait":
            now_s += which / 3
        elif action == "claim" or ticket is None:
            claimed = both("claim", "worker", now_s)
            tickets += [] if claimed is None else [claimed]
        elif action == "sample":
            both("sample_parents", ticket, uniforms)
        elif action == "renew":
            both("renew", ticket, now_s)
        else:
            both("commit", ticket, candidate, uniforms)
    for view in ("progress", "operations"):
        both(view)
    both("best", 100)


def _answer(archive: Archive, operation: str, arguments: tuple[object, ...]) -> object:
    try:
        return getattr(archive, operation)(*arguments)
    except ValueError as error:
        return str(error)
