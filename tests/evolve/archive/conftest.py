"""Both implementations of the store, the one in Redis on a real embedded server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.archive.memory import MemoryStore
from evolve.archive.redis import RedisStore, open_store
from evolve.archive.server import stop_server
from evolve.archive.store import Store


@pytest.fixture(scope="session")
def server_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory whose server is stopped when the tests are through."""
    directory = tmp_path_factory.mktemp("store") / "data of the run"
    yield directory
    stop_server(directory)


@pytest.fixture
def redis_store(server_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisStore]:
    monkeypatch.delenv("CSRO_REDIS_URL", raising=False)
    store = open_store(f"run-{uuid.uuid4().hex[:8]}", server_dir)
    yield store
    store.close()


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore("run")
    found: RedisStore = request.getfixturevalue("redis_store")
    return found
