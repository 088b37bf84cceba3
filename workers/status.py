"""What a run is doing now, written to its store each second: all that whoever watches from another process needs.

The board, ``csro watch`` and the metrics read it; a status whose time stands still is that of a driver that died.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from evolve.archive.core import StoreUnavailableError
from evolve.archive.store import Record, Store
from evolve.llm.budget import Budget, Usage
from evolve.scoring import Scored
from workers.experiment import Experiment
from workers.telemetry import Snapshot, Telemetry

CHECKPOINT = "status"
INTERVAL_S = 1.0
STALE_S = 15.0
"""A driver that lives writes each second, but may be held up for a while by a busy machine or a slow store."""


@dataclass(frozen=True)
class Island:
    index: int
    epoch: int
    best: float | None
    mean: float | None
    programs: int


@dataclass(frozen=True)
class BestProgram:
    """The best of the search under way, by its score in the search."""

    id: str
    mean_return: float
    stderr: float
    source: str


@dataclass(frozen=True)
class Status:
    """``phase`` is ``starting``, ``searching``, ``working`` (between and after searches), ``ended`` or ``stopped``;
    ``line`` is the latest line told. ``t_s`` is when it was written, by the store's clock, ``in_flight`` the LLM calls
    under way; ``driver`` names the process that drives the run, of which there is one at a time."""

    run_id: str
    game: str
    method: str
    oracle: str
    model: str
    phase: str = "starting"
    line: str = ""
    iteration: int = 0
    iterations: int = 0
    proposals: int = 0
    committed: int = 0
    programs_per_s: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)
    islands: tuple[Island, ...] = ()
    best: BestProgram | None = None
    spent: Usage = field(default_factory=Usage)
    in_flight: int = 0
    budget: Budget = field(default_factory=Budget)
    host: str = ""
    pid: int = 0
    driver: str = ""
    t_s: float = 0.0

    def to_record(self) -> Record:
        return {**asdict(self), "failures": dict(self.failures), "islands": [asdict(i) for i in self.islands]}

    @classmethod
    def from_record(cls, record: Record) -> Status:
        values = cast(dict[str, Any], dict(record))
        return cls(
            **{
                **values,
                "islands": tuple(Island(**island) for island in values["islands"]),
                "best": None if values["best"] is None else BestProgram(**values["best"]),
                "spent": Usage(**values["spent"]),
                "budget": Budget(**values["budget"]),
            }
        )

    @property
    def ended(self) -> bool:
        return self.phase in ("ended", "stopped")

    def alive(self, now_s: float) -> bool:
        """Does its driver still write it? ``now_s`` by the store's clock: those of two machines may differ by more
        than a driver may be silent."""
        return not self.ended and now_s - self.t_s < STALE_S

    def state(self, now_s: float) -> str:
        """The phase in a word, as lists show it."""
        return self.phase if self.ended or self.alive(now_s) else "gone"


class StatusWriter:
    """A :class:`workers.telemetry.Watcher` that keeps the run's status in its store up to date, in a thread of its own.

    It is the driver's lease on the run too. On one machine the run directory's lock keeps a second driver out; on a
    cluster a new one waits until the status of the old one stands still, and an old one that was only cut off finds
    another's name there when it is back, and stops.

    ``also`` is called with each status as it is written: metrics vanish unless they are set again every few seconds."""

    def __init__(
        self, store: Store, experiment: Experiment, telemetry: Telemetry, also: Callable[[Status], None] | None = None
    ) -> None:
        model = experiment.llm.model
        self._store = store
        self._ledger = store.ledger(experiment.budget)
        self._most_in_flight = experiment.llm.in_flight
        self._also = also
        self._telemetry = telemetry
        self._status = Status(
            experiment.run_id,
            experiment.game.name,
            experiment.method,
            experiment.oracle.kind,
            model if isinstance(model, str) else "+".join(member.model for member in model),
            budget=experiment.budget,
            host=platform.node(),
            pid=os.getpid(),
            driver=secrets.token_hex(8),
        )
        self._lost = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, name="status", daemon=True)

    def __enter__(self) -> StatusWriter:
        self._telemetry.watch(self)
        self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._stop.set()
        self._thread.join()
        if error is None:
            self._set(phase="ended")
        else:
            self._set(phase="stopped", line=" ".join(str(error).split()) or type(error).__name__)
        # What ended the run may be the store; then that is what is told, not that the status could not be written.
        with contextlib.suppress(StoreUnavailableError):
            if not self._lost:
                self._write()

    def line(self, text: str) -> None:
        self._set(line=text, phase="working")

    def snapshot(self, snapshot: Snapshot) -> None:
        progress, best = snapshot.progress, snapshot.best
        scored = best.evaluation if best is not None and isinstance(best.evaluation, Scored) else None
        self._set(
            phase="searching",
            iteration=snapshot.iteration,
            iterations=snapshot.iterations,
            proposals=progress.proposals,
            committed=progress.committed,
            programs_per_s=snapshot.programs_per_s,
            failures=progress.failures,
            islands=tuple(Island(i.ref.index, i.ref.epoch, i.best, i.mean, i.programs) for i in progress.islands),
            best=BestProgram(best.program.id, scored.mean_return, scored.stderr, best.program.source)
            if best is not None and scored is not None
            else None,
        )

    def _set(self, **changes: Any) -> None:
        with self._lock:
            self._status = replace(self._status, **changes)

    def _write(self) -> None:
        # At most: some of what is reserved only waits for its call, or is being stored.
        in_flight = min(self._ledger.held().llm_calls, self._most_in_flight)
        self._set(t_s=self._store.now_s(), spent=self._ledger.spent(), in_flight=in_flight)
        self._store.save(CHECKPOINT, self._status.to_record())
        if self._also is not None:
            self._also(self._status)

    def _keep_writing(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            # A store that is gone ends the run by way of its driver; here there is nothing to add to that.
            with contextlib.suppress(StoreUnavailableError):
                found = load_status(self._store)
                if found is not None and found.driver != self._status.driver:
                    self._telemetry.warn(f"a driver on {found.host} has taken this run over: this one stops")
                    self._lost = True
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                self._write()


def load_status(store: Store) -> Status | None:
    record = store.load(CHECKPOINT)
    return None if record is None else Status.from_record(record)


def wait_for_other_driver(store: Store, telemetry: Telemetry) -> None:
    """Returns when no driver on another machine writes this run's status any more."""
    told = False
    while (other := load_status(store)) is not None and other.host != platform.node() and other.alive(store.now_s()):
        if not told:
            telemetry.say(f"waiting for this run's driver on {other.host} to end or fall silent")
            told = True
        time.sleep(INTERVAL_S)
