"""How the suite is spread over processes (``pytest -n 2 --dist loadgroup``, as ``make test`` does).

A file stays together, for its fixtures' sake, unless its tests say ``xdist_group`` themselves. Those that start a Ray
are one group, for there is only one Ray at a time; it begins first, since nothing else takes as long, and then the
files with drills. No generated example has a deadline: no test asserts a time.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

RAY = "ray"

settings.register_profile("csro", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("csro")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}/{item.path.stem}"))
    with_drills = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (group_of(item) != RAY, item.path not in with_drills))


def group_of(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    return str(marker.args[0]) if marker else ""
