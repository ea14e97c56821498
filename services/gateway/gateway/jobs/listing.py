"""Jobs and results, page by page. Pages are bounded in bytes too: a result may be large."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway import page_token
from gateway.jobs.standing import Standing
from trichord.errors import NotFoundError
from trichord.jobs.job_records import JobRecords
from trichord.jobs.read_ahead import READ_AHEAD
from trichord.v1 import jobs_pb2

DEFAULT_JOBS, MAX_JOBS = 20, 100
DEFAULT_RESULTS, MAX_RESULTS = 100, 1000
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""A page of results ends with the one that reaches this."""

_JOB_PLACE = "after:([A-Za-z0-9._-]{1,100})"
_RESULT_PLACE = "from:([0-9]{1,9})"


async def list_jobs(
    request: jobs_pb2.ListJobsRequest, tenant: str, records: JobRecords, standing: Standing
) -> jobs_pb2.ListJobsResponse:
    """A page of the tenant's jobs, newest first. Raises RequestError, or UnavailableError."""
    size = page_token.size(request.page_size, DEFAULT_JOBS, MAX_JOBS, "jobs")
    after = page_token.read(request.page_token, _JOB_PLACE)
    found = await records.job_ids(tenant, size + 1, after[1] if after else "")
    jobs = await asyncio.gather(*(_job(tenant, job_id, standing) for job_id, _ in found[:size]))
    more = page_token.of(f"after:{found[size - 1][1]}") if len(found) > size else ""
    return jobs_pb2.ListJobsResponse(jobs=[job for job in jobs if job], next_page_token=more)


async def _job(tenant: str, job_id: str, standing: Standing) -> jobs_pb2.Job | None:
    """None if it is just being removed: it leaves the index last."""
    try:
        return await standing.job(tenant, job_id)
    except NotFoundError:
        return None


async def list_results(
    request: jobs_pb2.ListJobResultsRequest, tenant: str, records: JobRecords, standing: Standing
) -> jobs_pb2.ListJobResultsResponse:
    """A page of a job's results, those that there are. Raises RequestError, NotFoundError, or UnavailableError."""
    size = page_token.size(request.page_size, DEFAULT_RESULTS, MAX_RESULTS, "results")
    begin = page_token.read(request.page_token, _RESULT_PLACE)
    first = int(begin[1]) if begin else 0
    indices = [index for index in await standing.ended_items(tenant, request.id) if index >= first]
    page = await _page(request.id, tenant, records, indices[:size])
    more = page and len(page) < len(indices)
    return jobs_pb2.ListJobResultsResponse(
        results=page, next_page_token=page_token.of(f"from:{page[-1].index + 1}") if more else ""
    )


async def _page(job_id: str, tenant: str, records: JobRecords, indices: Sequence[int]) -> list[jobs_pb2.ItemResult]:
    """The first of those results that make a page."""
    page: list[jobs_pb2.ItemResult] = []
    num_bytes = 0
    for begin in range(0, len(indices), READ_AHEAD):
        async for result in records.results(tenant, job_id, indices[begin : begin + READ_AHEAD]):
            if num_bytes < MAX_PAGE_BYTES:
                page.append(result)
                num_bytes += result.ByteSize()
        if num_bytes >= MAX_PAGE_BYTES:
            break
    return page
