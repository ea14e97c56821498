"""All of jobs in one gateway: made from settings, started and ended together."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from gateway.identity.key_ring import utc_now
from gateway.jobs.demand import demand
from gateway.jobs.desk import Jobs
from gateway.jobs.keeper import Keeper
from gateway.jobs.keeping import Tools
from gateway.jobs.lag import Lag
from gateway.jobs.listening import listen
from gateway.jobs.standing import Standing
from gateway.jobs.submission import Media, Submission
from gateway.jobs.turns import Turn
from gateway.routing.tasks import Tasks
from gateway.settings import GatewaySettings
from trichord.demand import Demand
from trichord.jobs.consumer import QueueConsumer
from trichord.jobs.job_records import JobRecords
from trichord.jobs.objects import open_store
from trichord.jobs.producer import QueueProducer
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics

MAX_UNHEARD = 256
"""Words of items that ended, in hand at once."""


@dataclass(frozen=True)
class OpenedJobs:
    """What handlers use (``jobs``), and what works in the background between ``start`` and ``close``."""

    jobs: Jobs
    _keeper: Keeper
    _producer: QueueProducer
    _consumer: QueueConsumer
    _lag: Lag
    _tasks: Tasks
    _notice_s: float

    def start(self) -> None:
        """Begins to keep jobs and to listen. The queue may be away: what needs it waits."""
        self._keeper.start()
        self._lag.start()
        self._tasks.start(self._listen(), name="hear of items")

    def demand(self) -> Demand | None:
        """Of workers, as of now; None while the queue is away."""
        return demand(self._lag.newest, self._keeper.kept, utc_now())

    async def drain(self) -> None:
        """Has watchers leave after the notice that all clients get: a job may take for hours."""
        await asyncio.sleep(self._notice_s)
        self.jobs.leaving.set()

    async def close(self) -> None:
        """Ends all background work."""
        await self._keeper.close()
        await self._tasks.cancel()
        await asyncio.gather(self._lag.close(), self._consumer.close(), self._producer.close())

    async def _listen(self) -> None:
        async with self._consumer as deliveries:
            await listen(deliveries, self.jobs.standing, self.jobs.wake)


def open_jobs(settings: JobsSettings, media: Media, limits: GatewaySettings) -> OpenedJobs:
    """Nothing is connected to or started yet. Raises SettingsError for a store that cannot be."""
    store, topics = open_store(settings.store), Topics(settings)
    records = JobRecords(store, settings)
    standing, producer, lag = Standing(records), QueueProducer(settings), Lag(settings)
    tools = Tools(records, standing, producer, topics, lag.was_empty_after, settings, utc_now)
    keeper = Keeper(tools, store, Turn(store, utc_now, "jobs"))
    submission = Submission(records, media, limits, settings)
    own_group = f"{settings.topic_prefix}gateway.{secrets.token_hex(4)}"  # each gateway hears all
    consumer = QueueConsumer(settings, own_group, [topics.results], max_in_progress=MAX_UNHEARD, from_end=True)
    jobs = Jobs(settings, store, records, submission, standing, keeper.wake)
    return OpenedJobs(jobs, keeper, producer, consumer, lag, Tasks(), limits.drain_notice_s)
