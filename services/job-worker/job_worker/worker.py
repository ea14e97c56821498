"""What is done with one message of the queue: ask the gateway, keep the result, tell of it, and only then commit.

Each step may be done again: a result is written once, and what is told is made from the one that was written. So a
worker may be killed at any point, and another may have the same item at the same time. Knows the order of the steps.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from job_worker import modality, observing, results
from job_worker.caller import Answer, Asked, GatewayCaller
from job_worker.outage import Outage
from job_worker.patience import patiently
from job_worker.post import Post
from job_worker.settings import WorkerSettings
from job_worker.slots import Slots
from job_worker.verdict import judge
from job_worker.work import Work
from trichord.errors import NotFoundError, TrichordError
from trichord.jobs.consumer import Delivery
from trichord.jobs.job_records import JobRecords
from trichord.jobs.on_behalf import OnBehalf
from trichord.v1 import jobs_pb2


class Worker:
    """Works on as many messages at once as it is given, and on as many items as settings allow."""

    def __init__(self, settings: WorkerSettings, records: JobRecords, caller: GatewayCaller, post: Post) -> None:
        self._settings, self._records, self._caller, self._post = settings, records, caller, post
        self._slots = Slots(settings.concurrency, {"image": settings.image_share, "audio": settings.audio_share})
        self._outage = Outage(settings.concurrency)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def work(self, delivery: Delivery) -> None:
        """Does all that there is to do with a message, and says so to the queue. Waits while store or queue are away.

        If its partition was taken away before it began, it is left to whoever has it now.
        """
        try:
            await self._take_up(Work.of(delivery), delivery)
        except Exception as error:  # what cannot be read, in the queue or in the store, must not stop the others
            observing.put_aside(delivery, error)
            await patiently(self._post.put_aside, delivery)
        delivery.done()

    async def _take_up(self, work: Work, delivery: Delivery) -> None:
        # Twice here, after a rebalance or from an impatient keeper: the second finds what the first did.
        alone = self._locks.setdefault(work.request_id, asyncio.Lock())
        async with alone, self._slots.slot(modality.media(work.queued)):
            if not delivery.is_revoked:
                with observing.item(work):
                    await self._item(work)

    async def _item(self, work: Work) -> None:
        queued = work.queued
        kept = await patiently(self._records.result, queued.tenant, queued.job_id, queued.index)
        if kept is not None:
            observing.repeated()
            await patiently(self._post.ended, work, kept)
        elif not work.is_expired and not await patiently(self._records.is_cancelled, queued.tenant, queued.job_id):
            # Else nobody waits for it: whoever keeps the job gives it its result.
            await self._attempt(work)

    async def _attempt(self, work: Work) -> None:
        item = await self._read(work)
        if item is None:
            return
        try:
            await self._caller.reached(work.left_s())
            answer = await self._answer(work, item)
        except TrichordError as error:
            if not work.is_expired:
                await self._failed(work, item.custom_id, error)
        else:
            await self._ended(work, results.completed(work, item.custom_id, answer, work.history.attempts + 1))

    async def _read(self, work: Work) -> jobs_pb2.JobItem | None:
        """The item; None if its job was removed."""
        queued = work.queued
        if queued.HasField("item"):
            return queued.item
        record = await patiently(self._records.find, queued.tenant, queued.job_id)
        try:
            return await patiently(self._records.item, record, queued.index) if record else None
        except NotFoundError:
            return None

    async def _answer(self, work: Work, item: jobs_pb2.JobItem) -> Answer:
        asked = Asked(OnBehalf(work.queued.tenant, work.queued.job_id), work.request_id, item.request)
        try:
            with observing.call():
                answer = await self._caller.answer(asked, min(self._settings.call_timeout_s, work.left_s()))
        except TrichordError as error:
            self._outage.failed(error)
            raise
        self._outage.succeeded()
        return answer

    async def _failed(self, work: Work, custom_id: str, error: TrichordError) -> None:
        is_outage = self._outage.is_on
        verdict = judge(error, work.history.attempts, self._settings.max_attempts, is_outage=is_outage)
        observing.judged(verdict, error)
        if verdict.step == "give_up":
            await self._ended(work, results.failed(work, custom_id, error, verdict.attempts))
            return
        await asyncio.sleep(verdict.hold_s)
        await patiently(self._post.again, work, verdict, error)

    async def _ended(self, work: Work, result: jobs_pb2.ItemResult) -> None:
        """Keeps a result, unless the item has one by now, and tells of the one that there is."""
        queued = work.queued
        kept: jobs_pb2.ItemResult | None = result
        if await patiently(self._records.put_result, queued.tenant, queued.job_id, result):
            observing.kept(result)
        else:
            kept = await patiently(self._records.result, queued.tenant, queued.job_id, queued.index)
        if kept is not None:
            await patiently(self._post.ended, work, kept)
