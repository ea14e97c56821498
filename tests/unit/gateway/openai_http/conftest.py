"""One HTTP face for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import HttpLab, running_http


@pytest.fixture
async def http(lab: Lab) -> AsyncIterator[HttpLab]:
    async with running_http(lab) as running:
        yield running
