"""How the suite is spread over processes (``pytest -n 2 --dist loadfile``, as ``make test`` does).

A file stays together, for its fixtures' sake. Those that start a Ray come first, since nothing else takes as long, and
then the files with other drills. No generated example has a deadline: no test asserts a time.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("csro", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("csro")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rays = {item.path for item in items if item.get_closest_marker("ray")}
    drills = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in rays, item.path not in drills))
