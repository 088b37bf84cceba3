"""Serves the live board until Ctrl-C: islands, budget, meta-strategy and newest winners of the runs under runs/ and in
CSRO_REDIS_URL, read-only. It also answers in the Metrics tab of Ray's dashboard, when the head was started with
RAY_GRAFANA_HOST, RAY_GRAFANA_IFRAME_HOST and RAY_PROMETHEUS_HOST set to its address and
RAY_GRAFANA_DEFAULT_DASHBOARD_UID=csro. /metrics is for Prometheus."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading

from workers.board.server import PORT, RAY_DASHBOARDS, Boards, BoardServer
from workers.catalog import find_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="*", help="directories or ids of runs (default: all known here)")
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}; 0 for any that is free")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1: this machine alone)")
    parser.add_argument(
        "--frame-from",
        metavar="URL",
        action="append",
        default=[],
        help=f"a dashboard that may embed the board, as its browsers call it (default {RAY_DASHBOARDS[0]})",
    )


def run(arguments: argparse.Namespace) -> int:
    for name in arguments.runs:
        find_run(name)  # a wrong name is told at once
    framers = tuple(arguments.frame_from) or RAY_DASHBOARDS
    server = BoardServer(Boards.named(arguments.runs), arguments.host, arguments.port, framers)
    server.start()
    print(json.dumps({"url": server.url}) if arguments.json else f"board at {server.url}", flush=True)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        ended.wait()
    except KeyboardInterrupt:
        print("csro: board closed", file=sys.stderr)
    server.stop()
    return 0
