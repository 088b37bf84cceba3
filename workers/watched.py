"""Everything by which a run can be watched while it lasts: its status in the store, its metrics, its live board."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from evolve.archive.redis import RedisStore
from workers.board.server import PORT, Boards, BoardServer
from workers.catalog import KnownRun
from workers.errors import RunFailedError
from workers.experiment import Experiment
from workers.metrics import RayGauges
from workers.run_directory import RunDirectory
from workers.status import StatusWriter
from workers.telemetry import Telemetry

DASHBOARD_ID = "csro"


@contextmanager
def watched(experiment: Experiment, store: RedisStore, run: RunDirectory, telemetry: Telemetry) -> Iterator[None]:
    """Writes the status; with ``workers.board`` or ``workers.dashboard`` serves the board on this machine."""
    with ExitStack() as stack:
        metrics = RayGauges() if experiment.execution == "ray" else None
        stack.enter_context(StatusWriter(store, experiment, telemetry, metrics))
        if experiment.workers.board or experiment.workers.dashboard:
            known = KnownRun(experiment.run_id, run.path, shared=store.data_dir is None)
            server = _on_some_port(Boards.of(known))
            server.start()
            stack.callback(server.stop)
            telemetry.say(f"board at {server.url}")
            for name, value in dashboard_environment(server.url).items():
                os.environ.setdefault(name, value)  # read by Ray's dashboard, if this run starts one
        yield


def dashboard_environment(board_url: str) -> dict[str, str]:
    """What Ray's dashboard must find in its environment to show the board under Metrics."""
    return {
        "RAY_GRAFANA_HOST": board_url,
        "RAY_GRAFANA_IFRAME_HOST": board_url,
        "RAY_PROMETHEUS_HOST": board_url,
        "RAY_GRAFANA_DEFAULT_DASHBOARD_UID": DASHBOARD_ID,
    }


def _on_some_port(boards: Boards) -> BoardServer:
    try:
        return BoardServer(boards, port=PORT)
    except RunFailedError:
        return BoardServer(boards, port=0)  # another run's board has the usual one
