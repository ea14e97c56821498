"""What the handlers of files and batches have at hand, where jobs are on. Made once for a process."""

from __future__ import annotations

from dataclasses import dataclass

from gateway import conversation
from gateway.cluster import Cluster
from gateway.identity.key_ring import utc_now
from gateway.jobs.desk import Jobs
from gateway.jobs.turns import Turn
from gateway.openai_http.answering import Core
from gateway.openai_http.batch_keeper import BatchKeeper
from gateway.openai_http.batch_lines import Check, LineLimits
from gateway.openai_http.batch_records import BatchRecords
from gateway.openai_http.batch_work import BatchWork
from gateway.openai_http.file_records import FileRecords
from gateway.openai_http.settings import HttpSettings
from trichord import sampling_ranges
from trichord.jobs.settings import JobsSettings
from trichord.v1 import gateway_pb2


@dataclass(frozen=True)
class JobDesk:
    """See the module."""

    settings: JobsSettings
    files: FileRecords
    batches: BatchRecords
    work: BatchWork
    keeper: BatchKeeper


def open_job_desk(jobs: Jobs, core: Core, http: HttpSettings, cluster: Cluster) -> JobDesk:
    """Nothing is started yet: ``keeper.start`` does, ``keeper.close`` ends it."""
    settings = jobs.settings
    files, batches = FileRecords(jobs.store, settings), BatchRecords(jobs.store)
    lines = LineLimits(settings.max_items, settings.max_item_bytes, http.max_media_bytes)
    work = BatchWork(jobs, files, batches, core.model, lines, _check(cluster))
    keeper = BatchKeeper(work, batches, files, Turn(jobs.store, utc_now, "batches"), settings.result_days)
    return JobDesk(settings, files, batches, work, keeper)


def _check(cluster: Cluster) -> Check:
    def check(request: gateway_pb2.ChatRequest) -> None:
        conversation.check(request, cluster.settings)
        sampling_ranges.check(request.sampling)
        cluster.sources.check(request)

    return check
