"""Every set of values that tests of the chart go through."""

from __future__ import annotations

import pytest

from tests.k8s.charts import EDGES, PROFILES, Object, rendered


@pytest.fixture(params=["", *PROFILES])
def profile(request: pytest.FixtureRequest) -> str:
    """Each set of values that the chart carries; empty is its defaults."""
    return str(request.param)


@pytest.fixture(params=["", *PROFILES, *EDGES])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """All objects, for every profile and every edge."""
    name = str(request.param)
    return rendered(values=EDGES[name]) if name in EDGES else rendered(name)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What downloads gigabytes runs only when it is asked for."""
    if "images" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("images"):
                item.add_marker(pytest.mark.skip(reason="run with -m images"))
