"""Metrics in a live Prometheus: every query of the Grafana dashboard is accepted and finds its series."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.build import PANELS, RUNS, TARGET, dashboard
from evolve.llm.budget import Budget
from tests.cluster.cluster import free_port
from tests.workers.runs import wait_until
from tests.workers.test_board import run, served, status
from workers.board.server import BoardServer
from workers.metrics import HELP, measures
from workers.status import Status

__all__ = ["run", "served"]  # fixtures


def test_every_metric_is_described_and_has_a_panel() -> None:
    now = time.time()
    found = {measure.name for measure in measures(replace(status(now), budget=Budget(1, 2, 3.0)), now)}
    assert found == set(HELP)
    assert {panel.metric for panel in PANELS} == found - {"programs_wanted"}


def test_what_is_not_known_is_left_out() -> None:
    found = {measure.name for measure in measures(Status("r", "g", "csro", "o", "m"), time.time())}
    assert not found & {"best_return", "island_best_return", "budget_share"}


def test_the_dashboard_file_is_what_its_generator_writes() -> None:
    written = json.loads(TARGET.read_text())
    assert written == dashboard(), "run python -m deploy.grafana.build"
    assert written["uid"] == "csro"
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in written["panels"]}
    assert len(places) == len({p["id"] for p in written["panels"]}) == len(PANELS)


@pytest.fixture
def prometheus(served: BoardServer, tmp_path: Path) -> Iterator[str]:
    """The Debian package's server with our configuration, pointed at this board."""
    program = shutil.which("prometheus")
    assert program is not None, "no prometheus on PATH: apt-get install prometheus"
    config = yaml.safe_load((TARGET.parent.parent / "prometheus" / "prometheus.yml").read_text())
    config["global"]["scrape_interval"] = "1s"
    config["scrape_configs"][0]["file_sd_configs"][0]["files"] = [str(tmp_path / "none.json")]
    config["scrape_configs"][1]["static_configs"][0]["targets"] = [served.url.removeprefix("http://")]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    words = [f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    words.append(f"--web.listen-address=127.0.0.1:{port}")
    with subprocess.Popen([program, *words], stderr=subprocess.DEVNULL) as server:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _ready(url), "prometheus")
        yield url
        server.kill()


def _ready(url: str) -> bool:
    try:
        return bool(_query(url, 'csro_iteration{run="watched"}')["data"]["result"])
    except OSError:
        return False


def _query(url: str, query: str) -> Any:
    asked = urllib.parse.urlencode({"query": query})
    return json.load(urllib.request.urlopen(f"{url}/api/v1/query?{asked}", timeout=20))


def test_every_query_finds_its_series(prometheus: str) -> None:
    expected = {"island": 2, "kind": 2, "direction": 2}
    for panel in PANELS:
        answer = _query(prometheus, panel.query.replace("$run", ".+"))
        assert answer["status"] == "success"
        series = answer["data"]["result"]
        assert len(series) == expected.get(panel.by[0] if panel.by else "", 1), panel.title
        assert all(set(each["metric"]) == {"run", *panel.by} for each in series)
    inner = RUNS.removeprefix("label_values(").rpartition(",")[0]
    assert {each["metric"]["run"] for each in _query(prometheus, inner)["data"]["result"]} == {"watched"}
    (best,) = (p for p in PANELS if p.metric == "island_best_return")
    values = {
        each["metric"]["island"]: float(each["value"][1])
        for each in _query(prometheus, best.query.replace("$run", "watched"))["data"]["result"]
    }
    assert values == {"0": 12.5, "1": 980.0}
