"""Jobs as one gateway sees them that does not keep them going."""

from __future__ import annotations

import pytest

from tests.unit.gateway.jobs.jobs_lab import TENANT, JobsLab, counts, job_items, result
from trichord.v1 import jobs_pb2


async def test_what_is_heard_of_a_job_that_nobody_asks_for_is_bounded(
    jobs: JobsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.jobs.standing.MAX_HINTED", 3)
    record = await jobs.submit(job_items(9))
    standing = jobs.standing
    assert counts(await standing.job(TENANT, record.job.id)) == {"total": 9}
    for index in range(9):
        await jobs.records.put_result(TENANT, record.job.id, result(index))
        assert standing.ended(jobs_pb2.ItemEnded(job_id=record.job.id, index=index))
        assert len(standing._known[record.job.id].hinted) <= 3
    assert counts(await standing.job(TENANT, record.job.id)) == {"total": 9, "completed": 9}
