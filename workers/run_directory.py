"""What a run leaves on disk. The store's own files are in ``store/``; all else is written from it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from evolve.policy_pool import PolicyPool
from workers.errors import UsageError
from workers.experiment import Experiment
from workers.settings import SettingsError, load_experiment

if TYPE_CHECKING:  # most commands read run directories without a store
    from evolve.archive.redis import RedisStore


_IDENTITY = "identity"


class RunDirectoryError(UsageError):
    """The directory is no run, another run's, or in use. One line that says what to do."""


class RunDirectory:
    """One run's directory. Files are replaced whole, so that a reader never sees half of one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, experiment: Experiment, name: str, out: str | None) -> tuple[RunDirectory, Experiment]:
        """A new run: its directory and the experiment with its run id. Raises :class:`RunDirectoryError`."""
        name = _as_id(name)
        run_id = experiment.run_id or f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        path = Path(out) if out else Path("runs") / run_id
        if (path / "experiment.toml").exists():
            raise RunDirectoryError(f"{path} holds a run already: add --resume to go on, or choose another --out")
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        experiment = replace(experiment, run_id=run_id)
        run.write_text("experiment.toml", experiment.to_toml())
        return run, experiment

    @classmethod
    def open(cls, path: Path) -> tuple[RunDirectory, Experiment]:
        """An existing run. Raises :class:`RunDirectoryError`."""
        file = path / "experiment.toml"
        if not file.is_file():
            raise RunDirectoryError(f"{path} is no run directory: it has no experiment.toml")
        try:
            return cls(path), load_experiment(str(file))
        except SettingsError as error:
            raise RunDirectoryError(f"{file} cannot be read by this version of csro: {error}") from None

    @classmethod
    def latest(cls, name: str) -> Path:
        """The newest run of preset ``name`` under ``runs/``. Raises :class:`RunDirectoryError` if there is none."""
        stamped = re.compile(re.escape(name) + r"-\d{8}-\d{6}-[0-9a-f]{4}")
        files = [p for p in Path("runs").glob(f"{name}-*/experiment.toml") if stamped.fullmatch(p.parent.name)]
        found = sorted(files, key=lambda p: p.stat().st_mtime)
        if not found:
            raise RunDirectoryError(f"no run of {name} under runs/ to resume; name its directory with --out")
        return found[-1].parent

    def check_name(self, name: str, run_id: str, asked: str) -> None:
        """Raises :class:`RunDirectoryError` if this is a run of another experiment than ``name``, as was ``asked``."""
        stamped = re.fullmatch(r"(.+)-\d{8}-\d{6}-[0-9a-f]{4}", run_id)
        if stamped is None or stamped[1] == _as_id(name):
            return
        if Path(asked).resolve() != (self.path / "experiment.toml").resolve():
            found = stamped[1]
            raise RunDirectoryError(
                f"{self.path} holds a run of {found}, not of {name}: csro run {found} --resume --out {self.path}"
            )

    @property
    def store(self) -> Path:
        return self.path / "store"

    def lock(self) -> None:
        """Held until this process ends. Raises :class:`RunDirectoryError` if another driver has it."""
        self._lock = (self.path / ".lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise RunDirectoryError(f"{self.path} is being run by another process") from None

    def claim_store(self, store: RedisStore) -> None:
        """Binds this directory and its store to each other at the first start.

        Raises :class:`RunDirectoryError` if the directory was bound to another store: going on with an empty one would
        start the run over, unasked."""
        bound, record = self._json("store.json"), store.load(_IDENTITY)
        if bound is None:
            record = record or {_IDENTITY: secrets.token_hex(16)}
            store.save(_IDENTITY, record)
            self.write_json("store.json", {**record, "where": store.where})
        elif record is None or record[_IDENTITY] != bound.get(_IDENTITY):
            before, now = bound.get("where"), store.where
            place = f"that in {now}" if before == now else f"{now}, but the one at {before}"
            hint = "its data are gone: restore them" if before == now else "set or unset CSRO_REDIS_URL as at its start"
            raise RunDirectoryError(f"the store of {self.path} is not {place}; {hint}, or start a new run")

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # -- writing -----------------------------------------------------------------------------------------------

    def write_text(self, name: str, text: str) -> None:
        self._write(name, (text,))

    def _write(self, name: str, parts: Iterable[str]) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def write_json(self, name: str, value: object) -> None:
        self.write_text(name, json.dumps(value, indent=1, allow_nan=False) + "\n")

    def write_events(self, events: Iterable[Mapping[str, object]]) -> None:
        """Line by line: the events of a long run need not all be held at a time."""
        self._write("events.jsonl", (json.dumps(dict(event)) + "\n" for event in events))

    def write_policies(self, pools: Iterable[PolicyPool]) -> None:
        """One file per pooled policy, named by its place, name and id."""
        for player, pool in enumerate(pools):
            for place, policy in enumerate(pool):
                self.write_text(f"policies/{player}-{place:02d}-{policy.name}-{policy.id}.py", policy.program.source)

    # -- reading -----------------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """Raises :class:`RunDirectoryError` if the run has not finished."""
        file = self.path / "summary.json"
        if not file.is_file():
            raise RunDirectoryError(f"{self.path} has no summary.json: the run has not ended; go on with --resume")
        summary = self._json("summary.json") or {}
        if missing := {"iterations", "final"} - summary.keys():
            raise RunDirectoryError(f"{file} is damaged: no {' nor '.join(missing)}; restore it from a copy")
        return summary

    def events(self) -> list[dict[str, Any]]:
        """The event log of a run that has ended. Raises :class:`RunDirectoryError` if it does not read back."""
        file = self.path / "events.jsonl"
        events = []
        try:
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    event = json.loads(line)
                    if not isinstance(event, dict) or "type" not in event:
                        raise ValueError("no event")
                    events.append(event)
        except FileNotFoundError:
            raise RunDirectoryError(f"{self.path} has no events.jsonl: restore it from a copy") from None
        except ValueError as error:
            place = f"{file}:{len(events) + 1}"
            raise RunDirectoryError(f"{place} is no event: {error}; restore the file from a copy") from None
        return events

    def _json(self, name: str) -> dict[str, Any] | None:
        file = self.path / name
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunDirectoryError(f"{file} is damaged: {error}; restore it from a copy") from None
        if not isinstance(document, dict):
            raise RunDirectoryError(f"{file} is damaged: no JSON object; restore it from a copy")
        return document

    def policy_sources(self) -> dict[str, str]:
        """Sources of the pooled policies by program id."""
        return {p.stem.rsplit("-", 1)[-1]: p.read_text("utf-8") for p in sorted(self.path.glob("policies/*.py"))}


def _as_id(name: str) -> str:
    """A name as run ids begin with it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
