"""The page of the process that a test's gateway runs in, and the gateway's HTTP face."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.metrics_lab import Page
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import HttpLab, running_http


@pytest.fixture
def page(lab: Lab, page_url: str) -> Page:
    """First looked at once the gateway is there: what it holds at the beginning is not gained."""
    return Page(page_url)


@pytest.fixture
async def http(lab: Lab) -> AsyncIterator[HttpLab]:
    async with running_http(lab) as running:
        yield running
