from __future__ import annotations

from collections.abc import AsyncIterator

import hypothesis
import pytest

from tests.unit.trichord.echo import Served, served

# A loaded machine is slow: time is never what a test is about.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture
async def echo() -> AsyncIterator[Served]:
    """A service that lets two calls in at once."""
    async with served(max_concurrent_rpcs=2) as running:
        yield running
