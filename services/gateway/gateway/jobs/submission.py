"""Takes a job: every item checked, its handles turned into bytes, and all of it kept or nothing.

Knows no gRPC and no queue: the keeper finds what is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Protocol

from gateway.conversation import Item
from gateway.identity.key_ring import utc_now
from gateway.jobs import checks
from gateway.metrics import jobs as metrics
from gateway.settings import GatewaySettings
from trichord.errors import AlreadyExistsError, ConflictError, QuotaError, RequestError, TrichordError
from trichord.jobs import layout
from trichord.jobs.job_records import JobRecords
from trichord.jobs.settings import JobsSettings
from trichord.telemetry import spans
from trichord.v1 import gateway_pb2, jobs_pb2, tensor_pb2

MAX_OPEN = 1000
"""Jobs of a tenant without an end: a gateway looks at all of them, again and again."""
ITEMS_AT_A_TIME = 16
"""Then others have their turn: thousands may come in one message, and nothing is written of what is known."""


class Media(Protocol):
    """Where handles lead; ``sources.MediaSources`` is such."""

    async def items(self, request: gateway_pb2.ChatRequest, tenant: str) -> Sequence[Item]:
        """The media of a request. Raises an error that names the part."""


class Submission:
    """See the module."""

    def __init__(
        self,
        records: JobRecords,
        media: Media,
        limits: GatewaySettings,
        settings: JobsSettings,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._records, self._media, self._limits, self._settings = records, media, limits, settings
        self._clock = clock

    async def submit(
        self, tenant: str, spec: jobs_pb2.JobSpec, items: AsyncIterable[jobs_pb2.JobItem]
    ) -> jobs_pb2.JobRecord:
        """Keeps a job, or tells the one that the same request id and items were kept as before.

        Raises RequestError with a field like ``spec.deadline`` or ``items[3].request.messages``, NotFoundError for a
        handle that is not there, AlreadyExistsError for a request id that came with other items, QuotaError if the
        tenant has too many jobs without an end, UnavailableError, and what ``items`` raises.
        """
        now = self._clock()
        before = await self._records.find(tenant, layout.job_id(tenant, spec.request_id)) if spec.request_id else None
        if before is None and await self._records.num_open(tenant) >= MAX_OPEN:
            message = f"You have {MAX_OPEN} jobs that have not ended, as many as may be. Wait for one, or cancel one."
            raise QuotaError(message, quota="jobs", retry_after_s=60.0)
        complete = before.job.spec if before else checks.completed(spec, now, self._settings)
        ready = self._ready(tenant, items)
        try:
            record = await self._records.keep(tenant, complete, ready, now, traceparent=spans.traceparent())
        except ConflictError as error:
            message = "This request id was used for a job with other items. Choose a new one."
            raise AlreadyExistsError(message, field="spec.request_id") from error
        if not before:
            metrics.submitted(record)
        return record

    async def _ready(self, tenant: str, items: AsyncIterable[jobs_pb2.JobItem]) -> AsyncIterator[jobs_pb2.JobItem]:
        """The items as they are kept. Raises as ``submit`` does."""
        seen: set[str] = set()
        index = 0
        async for item in items:
            try:
                await self._make_ready(tenant, item)
                if item.custom_id in seen:
                    raise RequestError("Two items have this custom id. Give each its own.", field="custom_id")
            except TrichordError as error:
                error.at(f"items[{index}].{error.field}")
                raise
            seen.add(item.custom_id)
            index += 1
            yield item
            if index % ITEMS_AT_A_TIME == 0:
                await asyncio.sleep(0)

    async def _make_ready(self, tenant: str, item: jobs_pb2.JobItem) -> None:
        """Checks an item, and puts bytes where handles are: they may be gone when it is its turn."""
        item.request.ClearField("request_id")
        item.request.ClearField("priority")
        checks.check_item(item, self._limits)
        try:
            media = await self._media.items(item.request, tenant)
        except TrichordError as error:
            error.at(f"request.{error.field}")
            raise
        for medium in media:
            part = item.request.messages[medium.message_index].parts[medium.part_index]
            if part.WhichOneof("part") == "media_handle":
                _put_bytes(part, medium)


def _put_bytes(part: gateway_pb2.Part, medium: Item) -> None:
    if medium.modality == tensor_pb2.MODALITY_IMAGE:
        part.image_bytes = medium.content
    else:
        part.audio_bytes = medium.content
