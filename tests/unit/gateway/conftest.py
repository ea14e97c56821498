"""One gateway with its fakes for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import hypothesis
import pytest

from tests.unit.gateway.lab import Lab, running_lab

# A loaded machine is slow: time is never what a test is about.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with running_lab() as running:
        yield running
