"""The status that a run writes of itself: complete, alive or not, and the driver's lease on the run."""

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from evolve.archive.memory import MemoryStore
from evolve.archive.progress import IslandStatus, Progress
from evolve.candidate import Candidate, IslandRef
from evolve.llm.budget import Budget, Usage
from evolve.program import Program
from evolve.scoring import OpponentReturn, Scored
from workers import status
from workers.experiment import Experiment
from workers.status import CHECKPOINT, Status, StatusWriter, load_status, wait_for_other_driver
from workers.telemetry import Snapshot, Telemetry

EXPERIMENT = replace(Experiment(), run_id="r", budget=Budget(llm_calls=9))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    monkeypatch.setattr(status, "INTERVAL_S", 0.02)
    yield MemoryStore("r")


def snapshot() -> Snapshot:
    scored = Scored(2.5, 0.5, {"o": OpponentReturn(2.5, 0.5, 4)}, "", 4)
    islands = (IslandStatus(IslandRef(0, 1), 2.5, 1.5, 3),)
    progress = Progress(16, 5, 4, outcomes={"added": 4}, failures={"timeout": 1}, islands=islands)
    best = Candidate(Program("x = 1\n"), scored, (), "full", "key")
    return Snapshot(2, 4, progress, best, 1.5, Usage(), Budget())


def told(store: MemoryStore) -> Status:
    found = load_status(store)
    assert found is not None
    return found


def test_what_is_watched_stands_in_the_store(store: MemoryStore) -> None:
    telemetry = Telemetry(quiet=True)
    seen: list[Status] = []
    with StatusWriter(store, EXPERIMENT, telemetry, seen.append):
        store.ledger(EXPERIMENT.budget).reserve([("call", Usage(1, 10, 10))])
        telemetry.snapshot(snapshot())
        while not seen or seen[-1].phase != "searching" or seen[-1].in_flight == 0:
            time.sleep(0.01)
        found = told(store)
        assert found.alive(store.now_s())
        assert (found.iteration, found.committed, found.proposals, found.in_flight) == (2, 4, 16, 1)
        assert found.failures == {"timeout": 1}
        assert found.islands == (status.Island(0, 1, 2.5, 1.5, 3),)
        assert found.best == status.BestProgram(Program("x = 1\n").id, 2.5, 0.5, "x = 1\n")
        assert found.budget == Budget(llm_calls=9)
    assert told(store).phase == "ended"
    assert not told(store).alive(store.now_s())


def test_a_failed_run_says_why(store: MemoryStore) -> None:
    with pytest.raises(RuntimeError), StatusWriter(store, EXPERIMENT, Telemetry(quiet=True)):
        raise RuntimeError("the reason,\nin two lines")
    assert (told(store).phase, told(store).line) == ("stopped", "the reason, in two lines")


def test_a_driver_that_died_is_told_from_one_that_lives(store: MemoryStore) -> None:
    with StatusWriter(store, EXPERIMENT, Telemetry(quiet=True)):
        found = told(store)
    now = store.now_s()
    died = replace(found, phase="searching", t_s=now - 60)
    assert died.state(now) == "gone"
    assert replace(died, t_s=now).state(now) == "searching"


def test_a_driver_on_another_machine_is_waited_for(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    other = Status("r", "g", "csro", "o", "m", phase="searching", host="elsewhere")
    store.save(CHECKPOINT, replace(other, t_s=store.now_s() - status.STALE_S + 0.3).to_record())
    wait_for_other_driver(store, Telemetry())
    assert not told(store).alive(store.now_s())
    assert "elsewhere" in capsys.readouterr().err


def test_clocks_of_machines_do_not_matter(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver whose own clock is an hour slow is no dead one, and an hour fast does not make a dead one live."""
    monkeypatch.setattr(store, "now_s", lambda: 1e9)
    with StatusWriter(store, EXPERIMENT, Telemetry(quiet=True)):
        lives = told(store)
    assert lives.t_s == 1e9
    lives = replace(lives, phase="searching", host="elsewhere")
    assert lives.alive(store.now_s())
    store.save(CHECKPOINT, lives.to_record())
    monkeypatch.setattr(store, "now_s", lambda: 1e9 + status.STALE_S)
    assert not told(store).alive(store.now_s())
    wait_for_other_driver(store, Telemetry(quiet=True))  # returns: there is none to wait for


def test_a_driver_whose_run_was_taken_over_stops(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        with StatusWriter(store, EXPERIMENT, Telemetry()):
            other = replace(told(store), driver="another", host="elsewhere")
            store.save(CHECKPOINT, other.to_record())
            end = time.monotonic() + 20
            while not asked and time.monotonic() < end:
                time.sleep(0.01)
        assert asked == [signal.SIGTERM]
        assert told(store).driver == "another", "it wrote over the new driver's status"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "taken this run over" in capsys.readouterr().err


def test_structured_logs_are_one_json_object_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSRO_LOG", "json")
    telemetry = Telemetry()
    telemetry.say("hello [world]")
    telemetry.warn("beware")
    telemetry.snapshot(snapshot())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [(line["level"], line["message"]) for line in lines[:2]]
    assert told == [("info", "hello [world]"), ("warning", "beware")]
    assert (lines[2]["iteration"], lines[2]["best_return"], lines[2]["failures"]) == (2, 2.5, {"timeout": 1})
    assert all("time" in line for line in lines)
