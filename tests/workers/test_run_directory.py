"""A run and its store belong together; files of a run that are damaged are told in one line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.archive.redis import open_store
from evolve.archive.server import stop_server
from workers.commands.common import chosen
from workers.experiment import Experiment
from workers.run_directory import RunDirectory, RunDirectoryError
from workers.settings import SettingsError


def made(tmp_path: Path, name: str = "demo") -> tuple[RunDirectory, Experiment]:
    return RunDirectory.create(Experiment(), name, str(tmp_path / "run"))


def claim(run: RunDirectory, experiment: Experiment, data: Path) -> None:
    store = open_store(experiment.run_id, data)
    try:
        run.claim_store(store)
    finally:
        store.close()
        stop_server(data)


def test_a_run_goes_on_with_its_own_store_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CSRO_REDIS_URL", raising=False)
    run, experiment = made(tmp_path)
    claim(run, experiment, run.store)
    claim(run, experiment, run.store)
    with pytest.raises(RunDirectoryError, match="CSRO_REDIS_URL as at its start") as caught:
        claim(run, experiment, tmp_path / "elsewhere")
    assert "\n" not in str(caught.value) and str(run.path) in str(caught.value)
    run.store.rename(tmp_path / "lost")
    with pytest.raises(RunDirectoryError, match="its data are gone"):
        claim(run, experiment, run.store)
    with pytest.raises(RunDirectoryError, match="its data are gone"):  # nor once the empty store is there
        claim(run, experiment, run.store)


def test_a_kill_before_the_directory_knows_its_store_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CSRO_REDIS_URL", raising=False)
    run, experiment = made(tmp_path)
    claim(run, experiment, run.store)
    bound = (run.path / "store.json").read_text()
    (run.path / "store.json").unlink()
    claim(run, experiment, run.store)
    assert (run.path / "store.json").read_text() == bound


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"iterations": []}', "\ud83d"])
def test_a_damaged_summary_is_one_line(tmp_path: Path, text: str) -> None:
    run, _ = made(tmp_path)
    (run.path / "summary.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RunDirectoryError, match=r"summary\.json is damaged") as caught:
        run.summary()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"type": "commit"}\n{"ty', "7\n", "{}\n", "\ud83d"])
def test_a_damaged_event_log_is_one_line(tmp_path: Path, text: str) -> None:
    run, _ = made(tmp_path)
    (run.path / "events.jsonl").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RunDirectoryError, match=r"events\.jsonl:\d is no event") as caught:
        run.events()
    assert "\n" not in str(caught.value)
    (run.path / "events.jsonl").unlink()
    with pytest.raises(RunDirectoryError, match=r"no events\.jsonl"):
        run.events()


def test_events_are_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    run, _ = made(tmp_path)
    events: list[dict[str, object]] = [{"type": "commit", "proposal": n} for n in range(3)]
    run.write_events(iter(events))
    assert run.events() == events

    def torn() -> Iterator[dict[str, object]]:
        yield {"type": "commit", "proposal": 9}
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="gone"):
        run.write_events(torn())
    assert run.events() == events
    assert {path.name for path in run.path.iterdir()} == {"experiment.toml", "events.jsonl"}


def test_a_run_of_another_experiment_is_not_gone_on_with(tmp_path: Path) -> None:
    run, experiment = made(tmp_path, "kuhn")
    run.check_name("kuhn", experiment.run_id, "kuhn")
    run.check_name("experiment", experiment.run_id, str(run.path / "experiment.toml"))
    with pytest.raises(RunDirectoryError, match="holds a run of kuhn, not of demo: csro run kuhn --resume"):
        run.check_name("demo", experiment.run_id, "demo")


@pytest.mark.parametrize("override", ["llm.model=offline", "psro.iterations=2", "workers.evolvers=2", "gamey=1"])
def test_commands_refuse_keys_that_they_do_not_read(override: str) -> None:
    arguments = argparse.Namespace(command="match", game="repeated_rps", overrides=[override])
    with pytest.raises(SettingsError, match="match does not read it; it reads game"):
        chosen(arguments)
    arguments.overrides = ["workers.scorers=1", "game.num_rounds=7", "sandbox.cpu_s=2"]
    assert chosen(arguments).workers.scorers == 1
