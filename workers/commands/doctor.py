"""Says what works on this machine, and what to do about what does not: sandbox, Redis, Ray, keys, versions."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from evolve.archive.core import StoreUnavailableError
from evolve.archive.inventory import delete_run
from evolve.archive.redis import open_store
from evolve.archive.server import find_server, stop_server
from sandbox import plain_rounds
from sandbox.limits import Limits
from sandbox.referee import probe_isolation
from workers.errors import RunFailedError
from workers.run import versions

KEYS = {"openai": ("OPENAI_API_KEY",), "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ray", action="store_true", help="also start Ray, or join the running cluster (some seconds)")
    parser.add_argument("--address", metavar="URL", help="also the job server of the cluster with this dashboard")


def run(arguments: argparse.Namespace) -> int:
    report: dict[str, dict[str, object]] = {
        "sandbox": _sandbox(),
        "store": _store(),
        "keys": _keys(),
        "versions": dict(versions()),
    }
    if arguments.ray:
        report["ray"] = _ray()
    if arguments.address:
        report["cluster"] = _cluster(arguments.address)
    if arguments.json:
        print(json.dumps(report, allow_nan=False))
    else:
        _print(report)
    return 0 if all(part.get("ok", True) for part in report.values()) else 1


def _sandbox() -> dict[str, object]:
    isolation = probe_isolation(Limits())
    minimum = Limits().min_level
    compiled = "here" if plain_rounds.library() else "not built: install a C compiler, then csro again (optional)"
    return {"ok": isolation.level >= minimum, "minimum": minimum, **isolation.to_json(), "compiled_rounds": compiled}


def _store() -> dict[str, object]:
    """Opens a store as a run would, writes, reads, and leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="csro-doctor-") as directory:
        try:
            store = open_store(f"doctor-{secrets.token_hex(4)}", Path(directory))
            try:
                store.save("doctor", {"works": True})
                works = store.load("doctor") == {"works": True}
                where = str(store) if store.data_dir is None else f"embedded, {find_server()}"
                return {"ok": works, "server": where}
            finally:
                delete_run(store.connection, store.run_id)
                store.close()
                if store.data_dir is not None:
                    stop_server(store.data_dir)
        except StoreUnavailableError as error:
            return {"ok": False, "problem": str(error)}


def _keys() -> dict[str, object]:
    """Which providers have a key; never the key."""
    found: dict[str, object] = {"offline": "needs none"}
    for provider, names in KEYS.items():
        here = [name for name in names if os.environ.get(name)]
        found[provider] = f"set in {here[0]}" if here else f"not set: {' or '.join(names)}"
    return found


def _ray() -> dict[str, object]:
    from workers import remote
    from workers.pool import default_size

    try:
        remote.connect(default_size(0))
    except RunFailedError as error:
        return {"ok": False, "problem": str(error)}
    try:
        return {"ok": True, "machines": remote.machines(), "cpus": remote.scorers_wanted(0, default_size(0))}
    finally:
        remote.disconnect()


def _cluster(address: str) -> dict[str, object]:
    """The cluster as one who submits jobs meets it."""
    from workers.jobs import JobServer, address_of

    try:
        server = JobServer(address_of(address))
        machines = server.machines()
        takes = {name: "takes csro's work" if works else "head, or without csro" for name, works in machines.items()}
        return {"ok": any(machines.values()), "machines": takes, "jobs": len(server.jobs())}
    except RunFailedError as error:
        return {"ok": False, "problem": str(error)}


def _print(report: dict[str, dict[str, object]]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for name, part in report.items():
        mark = {True: "[green]ok[/] ", False: "[red]bad[/] ", None: ""}[part.get("ok")]  # type: ignore[index]
        console.print(f"{mark}[bold]{name}[/]")
        for key, value in part.items():
            if key == "ok" or value in ({}, (), []):
                continue
            if isinstance(value, dict):
                for inner, text in value.items():
                    console.print(f"    {key}: {escape(str(inner))}: {escape(str(text))}")
            else:
                shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
                console.print(f"    {key}: {escape(str(shown))}")
