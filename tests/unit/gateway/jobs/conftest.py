from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.gateway.jobs.jobs_lab import JobsLab


@pytest.fixture
def jobs(tmp_path: Path) -> JobsLab:
    """On a directory of its own."""
    return JobsLab(tmp_path)
