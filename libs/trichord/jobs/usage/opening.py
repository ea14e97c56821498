"""A reporter of usage as settings say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trichord.jobs.message import Message
from trichord.jobs.producer import QueueProducer
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics
from trichord.jobs.usage.reporter import Report, UsageReporter, unreported
from trichord.jobs.usage.settings import UsageSettings
from trichord.jobs.usage.spool import Spool


@asynccontextmanager
async def reporting(jobs: JobsSettings, usage: UsageSettings) -> AsyncIterator[Report]:
    """What takes the usage events of this process; nothing comes of them where there is no queue.

    Raises SettingsError if there cannot be a spool.
    """
    if not jobs.kafka:
        yield unreported
        return
    topic, producer = Topics(jobs).usage, QueueProducer(jobs)  # its own: a queue full of jobs holds up no events
    reporter = UsageReporter(
        Spool(usage.spool, usage.spool_bytes), lambda event: producer.submit(topic, event.tenant, Message(event))
    )
    try:
        yield reporter.report
    finally:
        await reporter.close()
        await producer.close()
