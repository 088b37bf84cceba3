"""What the board shows of a run, as plain data: its status, its islands' course, its mixture and its newest winners."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from evolve.archive.core import SchemaVersionError, StoreUnavailableError
from evolve.archive.redis import RedisStore
from evolve.program import Program
from evolve.psro import CHECKPOINT
from workers.catalog import KnownRun
from workers.metrics import budget_shares
from workers.status import Status, load_status

POINTS = 240
"""Per island and iteration: beyond it every second one is dropped."""

WINNERS = 5


@dataclass
class Course:
    """Each island over one iteration: points of programs committed, best return and mean return."""

    iteration: int = 0
    islands: dict[int, list[tuple[float, float, float | None]]] = field(default_factory=dict)

    def add(self, event: Mapping[str, Any]) -> None:
        if event["iteration"] != self.iteration:
            self.iteration, self.islands = int(event["iteration"]), {}
        if event["best"] is None:
            return
        points = self.islands.setdefault(int(event["island"]), [])
        point = (float(event["committed"]), float(event["best"]), event["mean"])
        # Of points at which nothing new was committed the last one is enough.
        if points and points[-1][0] == point[0]:
            points[-1] = point
        else:
            points.append(point)
        if len(points) > POINTS:
            del points[1:-1:2]


class RunView:
    """A run as it is watched: reads on in its event log, and keeps what it saw when the store is gone."""

    def __init__(self) -> None:
        self._course = Course()
        self._winners: list[Mapping[str, Any]] = []
        self._read = 0
        self._last: dict[str, Any] = {}
        self._store_clock_s = 0.0  # how far the store's clock is ahead of our monotonic one
        self.status: Status | None = None

    def look(self, run: KnownRun) -> dict[str, Any]:
        """What there is to show now."""
        try:
            with run.live() as store:
                if store is not None:
                    self._look(store)
        except StoreUnavailableError:
            pass  # what was seen last stays, with its age
        except SchemaVersionError:
            return {"run_id": run.run_id, "state": "other version"}
        if self.status is None:
            return {"run_id": run.run_id, "state": _state(run)}
        age_s = round(self.now_s - self.status.t_s, 1)
        return {**self._last, "state": self.status.state(self.now_s), "age_s": age_s}

    @property
    def now_s(self) -> float:
        """By the store's clock, reckoned on from the last look while the store is gone."""
        return time.monotonic() + self._store_clock_s

    def _look(self, store: RedisStore) -> None:
        self._store_clock_s = store.now_s() - time.monotonic()
        events = store.events(self._read)
        self._read += len(events)
        for event in events:
            if event["type"] == "island":
                self._course.add(event)
            elif event["type"] == "promotion":
                self._winners = [*self._winners, event][-WINNERS:]
        status = load_status(store)
        if status is None:
            return
        self.status = status
        record = cast(dict[str, Any], store.load(CHECKPOINT) or {})
        self._last = {
            **asdict(status),
            "islands": [asdict(island) for island in status.islands],
            "budget_shares": budget_shares(status),
            "course": {
                "iteration": self._course.iteration,
                "islands": {str(i): points for i, points in sorted(self._course.islands.items())},
            },
            "meta_strategy": _mixtures(record),
            "winners": [_winner(event, record) for event in reversed(self._winners)],
        }


def _state(run: KnownRun) -> str:
    try:
        return run.describe()[0]
    except StoreUnavailableError:
        return "unreachable"


def _mixtures(record: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """The newest meta-strategy, one list per population, heaviest first; none for methods without a policy pool."""
    if not record.get("solved"):
        return []
    names = {Program(p["source"]).id: p["name"] for pool in record["pools"] for p in pool}
    return [
        [
            {"id": i, "name": names.get(i, i[:8]), "weight": weight}
            for i, weight in sorted(weights.items(), key=lambda item: -float(item[1]))
            if weight > 0
        ]
        for weights in record["solved"][-1]["meta_strategy"]
    ]


def _winner(event: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """A promoted program with the score that counts, on fresh seeds; the search's own where that is not known."""
    first = event["lineage"][0]
    known = [entry["best_response"] for entry in record.get("iterations", ()) if entry["best_response"]]
    fresh = next((best for best in known if best["id"] == first["id"]), None)
    return {
        "id": first["id"],
        "iteration": event["iteration"],
        "mean_return": fresh["mean_return"] if fresh else first["score"],
        "stderr": fresh["stderr"] if fresh else first["stderr"],
        "fresh": fresh is not None,
        "source": first["source"],
    }
