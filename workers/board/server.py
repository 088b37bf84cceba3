"""Serves the board: a page, its data, metrics for Prometheus, and the few addresses by which Ray's dashboard embeds it.

The Metrics tab of Ray's dashboard is one frame around the address of a Grafana. Where there is none, the board answers
there: ``/api/health`` and ``/api/v1/query`` are what the dashboard asks to see whether Grafana and Prometheus live, and
``/d/...`` is the page it frames. It reads and never writes; programs' texts travel as JSON and are shown as text alone.
"""

from __future__ import annotations

import ipaddress
import json
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from urllib.parse import parse_qs, urlsplit

from evolve.archive.core import StoreUnavailableError
from workers.board.view import RunView
from workers.catalog import KnownRun, find_run, known_runs
from workers.errors import RunFailedError, UsageError
from workers.metrics import exposition

PORT = 8270
RAY_DASHBOARDS = ("http://127.0.0.1:8265", "http://localhost:8265")
_LIST_EVERY_S = 3.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self' {framers}"
)
_STATIC = {
    "/board.js": "text/javascript; charset=utf-8",
    "/board.css": "text/css; charset=utf-8",
}
_STUB = "<!doctype html><title>csro</title><p>This panel needs Grafana; csro's board is under Metrics.</p>"


class Boards:
    """The runs of the board, with what was seen of each: those that ``list_runs`` finds, asked every few seconds."""

    def __init__(self, list_runs: Callable[[], Sequence[KnownRun]]) -> None:
        self._list_runs = list_runs
        self._views: dict[str, RunView] = {}
        self._runs: dict[str, KnownRun] = {}
        self._states: dict[str, str] = {}
        self._listed_s = 0.0
        self._lock = threading.Lock()

    @classmethod
    def named(cls, names: Sequence[str]) -> Boards:
        """Of runs by directory or id; of all that are known here if none is named."""
        return cls(lambda: [find_run(name) for name in names] if names else known_runs())

    @classmethod
    def of(cls, run: KnownRun) -> Boards:
        return cls(lambda: [run])

    def live(self, wanted: str | None) -> dict[str, object]:
        """The runs with their states, and of one of them all there is: the wanted one, else a live one, the newest."""
        with self._lock:
            self._list()
            names = list(self._runs)
            searching = [name for name in names if self._states[name] in ("searching", "working", "starting")]
            chosen = wanted if wanted in self._runs else next(iter((searching or names)[-1:]), None)
            run = self._look(chosen) if chosen is not None else None
            return {
                "runs": [{"run_id": name, "state": self._states[name]} for name in names],
                "run": run,
            }

    def metrics(self) -> bytes:
        with self._lock:
            self._list()
            for name in self._runs:
                if self._states[name] != "ended":
                    self._look(name)
            return exposition([(view.status, view.now_s) for view in self._views.values() if view.status is not None])

    def _look(self, name: str) -> dict[str, object]:
        return self._views.setdefault(name, RunView()).look(self._runs[name])

    def _list(self) -> None:
        if time.monotonic() - self._listed_s < _LIST_EVERY_S:
            return
        self._listed_s = time.monotonic()
        try:
            runs = self._list_runs()
        except (StoreUnavailableError, UsageError):
            return  # for the moment; what was known is shown with its age
        self._runs = {run.run_id: run for run in runs}
        self._states = {run.run_id: _state(run) for run in runs}


def _state(run: KnownRun) -> str:
    try:
        return run.describe()[0]
    except StoreUnavailableError:
        return "unreachable"


class BoardServer:
    """Answers at ``url`` from ``start`` to ``stop``. ``framers`` are the dashboards that may embed it.

    Raises :class:`RunFailedError` if the port is taken."""

    def __init__(
        self, boards: Boards, host: str = "127.0.0.1", port: int = PORT, framers: tuple[str, ...] = RAY_DASHBOARDS
    ) -> None:
        policy = _POLICY.format(framers=" ".join(framers))
        names = {host, "127.0.0.1", "localhost", "::1"} if _is_loopback(host) else None

        class Handler(_Handler):
            _boards, _content_policy, _host_names = boards, policy, names

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            reason = error.strerror or error
            raise RunFailedError(f"the board cannot listen on {host}:{port}: {reason}; choose a --port") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="board", daemon=True)
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Handler(BaseHTTPRequestHandler):
    server_version = "csro-board"
    sys_version = ""
    _boards: Boards
    _content_policy: str
    _host_names: set[str] | None

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path = address.path
        # A page elsewhere could have its own name point here, and read the board as if it were its own.
        if self._host_names is not None and _name(self.headers.get("Host", "")) not in self._host_names:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this board answers on this machine alone\n")
        elif path == "/" or path.startswith("/d/"):
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", _file("board.html"))
        elif path.startswith("/d-solo/"):
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", _STUB.encode())
        elif path in _STATIC:
            self._send(HTTPStatus.OK, _STATIC[path], _file(path.removeprefix("/")))
        elif path == "/live.json":
            wanted = parse_qs(address.query).get("run", [""])[0]
            self._json(self._boards.live(wanted or None))
        elif path == "/metrics":
            self._send(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", self._boards.metrics())
        elif path == "/api/health":
            self._json({"database": "ok", "version": "csro-board", "commit": ""})
        elif path == "/api/v1/query":
            self._json({"status": "success", "data": {"resultType": "vector", "result": []}})
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such page\n")

    do_HEAD = do_GET  # noqa: N815

    def _json(self, value: object) -> None:
        self._send(HTTPStatus.OK, "application/json", json.dumps(value).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", self._content_policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a page asks once a second."""


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    return (urlsplit(f"//{host}").hostname or "") if host else ""


def _file(name: str) -> bytes:
    return (resources.files("workers.board") / name).read_bytes()
