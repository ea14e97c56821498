"""A store in a directory, and the records in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trichord.jobs.job_records import JobRecords
from trichord.jobs.objects import ObjectStore, open_store
from trichord.jobs.settings import JobsSettings


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def records(store: ObjectStore) -> JobRecords:
    return JobRecords(store, JobsSettings(max_items=200, max_item_bytes=1 << 20, max_job_bytes=4 << 20))
