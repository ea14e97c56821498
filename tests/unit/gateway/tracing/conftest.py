"""A gateway whose spans are recorded from here on."""

from __future__ import annotations

import pytest

from tests.spans_lab import RecordedSpans
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.tracing.trees import SOON_S, known
from trichord.redis_link import RedisLink


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded machine is slow, and whole trees are compared: no command may be given up."""
    monkeypatch.setitem(RedisLink.__init__.__kwdefaults__, "timeout_s", SOON_S)  # type: ignore[index, arg-type]


@pytest.fixture
async def recorded(lab: Lab, recorded_spans: RecordedSpans) -> RecordedSpans:
    """What ``lab`` does from now on; it knows its services already."""
    await known(lab, recorded_spans)
    return recorded_spans
