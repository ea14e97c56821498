"""``python -m job_worker``: works through jobs at the gateway, behind all that is live."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from job_worker.caller import GatewayCaller
from job_worker.crew import Crew
from job_worker.post import Post
from job_worker.settings import WorkerSettings
from job_worker.worker import Worker
from trichord import server
from trichord.errors import SettingsError
from trichord.jobs.consumer import QueueConsumer
from trichord.jobs.job_records import JobRecords
from trichord.jobs.objects import open_store
from trichord.jobs.producer import QueueProducer
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics
from trichord.logs import configure
from trichord.tls import TlsSettings

READ_AHEAD = 2
"""Messages in hand for one item in progress: what waits for a slot must not keep others from theirs."""


async def main() -> None:
    """Serves its health until told to stop; ready while the queue hands it partitions."""
    settings, jobs, tls = (
        WorkerSettings.from_environment(),
        JobsSettings.from_environment(),
        TlsSettings.from_environment(),
    )
    configure("job-worker", settings.log_level)
    if not jobs.are_on:
        raise SettingsError("TRICHORD_JOBS_STORE and TRICHORD_JOBS_KAFKA are not set: there are no jobs to work on.")
    topics, producer, caller = Topics(jobs), QueueProducer(jobs), GatewayCaller(settings, tls)
    consumer = QueueConsumer(
        jobs,
        topics.workers,
        topics.work,
        max_in_progress=READ_AHEAD * settings.concurrency,
        instance_id=settings.instance,
    )
    worker = Worker(settings, JobRecords(open_store(jobs.store), jobs), caller, Post(producer, topics))
    crew = Crew(consumer, worker.work, settings.drain_timeout_s)
    await crew.start()
    try:
        await server.serve(_nothing, crew.is_ready, settings, tls=tls, other_drains=[crew.drain])
    finally:
        await crew.drain()
        await producer.close()
        await caller.close()


def _nothing(grpc_server: grpc.aio.Server) -> Sequence[str]:
    """Nobody calls a worker, but for its health."""
    return []


if __name__ == "__main__":
    server.run("job-worker", main())
