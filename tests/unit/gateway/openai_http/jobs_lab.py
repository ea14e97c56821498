"""Jobs in a directory, without a queue: what is taken is answered when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gateway.jobs.desk import Jobs
from gateway.jobs.standing import Standing
from gateway.jobs.submission import Media, Submission
from gateway.jobs.tally import job_ended
from gateway.settings import GatewaySettings
from trichord.jobs.job_records import JobRecords
from trichord.jobs.objects import open_store
from trichord.jobs.settings import JobsSettings
from trichord.v1 import decoder_pb2, gateway_pb2, jobs_pb2

Answering = Callable[[jobs_pb2.JobItem], jobs_pb2.ItemResult]


class DirectoryJobs:
    """The real jobs of a gateway; ``answer`` is worker and keeper."""

    def __init__(self, directory: Path, media: Media, requests: GatewaySettings, **limits: int) -> None:
        """``requests``: what one may hold; ``limits``: settings of jobs."""
        settings = JobsSettings(store=str(directory), kafka="127.0.0.1:1", **limits)  # type: ignore[arg-type]
        self.store = open_store(str(directory))
        self.records = JobRecords(self.store, settings)
        submission = Submission(self.records, media, requests, settings)
        self.desk = Jobs(settings, self.store, self.records, submission, Standing(self.records), wake=lambda: None)

    async def taken(self) -> list[jobs_pb2.JobRecord]:
        """The jobs that have no end."""
        found = [await self.records.find(job.tenant, job.job_id) async for job in self.records.open_jobs()]
        return [record for record in found if record and not await self.records.end(record.tenant, record.job.id)]

    async def items(self, record: jobs_pb2.JobRecord) -> list[jobs_pb2.JobItem]:
        indices = range(record.job.counts.total)
        return [item async for _, item in self.records.items(record, indices) if item]

    async def answer(self, answering: Answering) -> None:
        """Ends every item of every open job so, and then the jobs."""
        for record in await self.taken():
            for index, item in enumerate(await self.items(record)):
                result = answering(item)
                result.index, result.custom_id = index, item.custom_id
                result.request_id = f"{record.job.id}-{index}"
                result.end_time.GetCurrentTime()
                await self.records.put_result(record.tenant, record.job.id, result)
            ended = job_ended(record, await Standing(self.records).tally(record))
            ended.end_time.FromDatetime(datetime.now(UTC))
            await self.records.put_end(record.tenant, ended)


def completed(item: jobs_pb2.JobItem) -> jobs_pb2.ItemResult:
    """An answer that repeats what was asked."""
    usage = gateway_pb2.Usage(completion_tokens=3, cached_tokens=1, prompt_tokens={"text": 5, "image": 2})
    finished = gateway_pb2.ChatFinished(reason=decoder_pb2.FINISH_REASON_LENGTH, usage=usage)
    asked = item.request.messages[-1].parts[0].text
    return jobs_pb2.ItemResult(
        state=jobs_pb2.ITEM_STATE_COMPLETED, texts=[f"{asked}!"], finished=finished, attempts=1, model="fake"
    )


def ended(state: jobs_pb2.ItemState, reason: str = "", field: str = "") -> Answering:
    """Every item ends like this, without an answer."""
    error = jobs_pb2.ItemError(reason=reason, message="That went wrong.", field=field)
    return lambda item: jobs_pb2.ItemResult(state=state, error=error)
