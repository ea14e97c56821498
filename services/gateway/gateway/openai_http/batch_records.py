"""Batches in the object store, typed: what was asked, how its lines were found, whether to cancel, how it ended.

Each is an object that is written once, so that gateways which do the same work twice change nothing. Knows no HTTP and
no job.

::

    batches/<tenant>/<batch id>/{spec,checked,cancelled,end}
                               /wrong/000000  lines of the error file: what is wrong with lines of the input
    open-batches/<tenant>/<batch id> whose it is: a batch without an end, or one that is just being made
    batch-keys/<tenant>/<sha256>     which batch an idempotency key made
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.openai_http.batch_lines import LineError
from gateway.openai_http.file_shapes import BatchRequest, BatchUsage, RequestCounts
from gateway.openai_http.listing import Page, new_id
from trichord.errors import ConflictError, InternalError, NotFoundError, QuotaError
from trichord.jobs import layout
from trichord.jobs.objects import ObjectStore

EndStatus = Literal["completed", "failed", "cancelled", "expired"]

OPEN_PREFIX = "open-batches/"
MAX_OPEN = 100
"""Batches of a tenant without an end."""
MAX_RECORD_BYTES = 256 * 1024
"""The largest has a hundred errors of a kilobyte each."""
MAX_WRONG_BYTES = 2 << 20
"""Of an object of lines of the error file, which is written as soon as it has a megabyte."""

_ID = re.compile(r"batch_[0-9a-f]{32}")


class Record(BaseModel):
    """Base."""

    model_config = ConfigDict(frozen=True)


class BatchSpec(Record):
    """What was asked."""

    id: str
    tenant: str
    request: BatchRequest
    created_at: int
    """Unix seconds, as all times here."""
    traceparent: str = ""
    """W3C, of the request that made it."""

    @property
    def expires_at(self) -> int:
        """When what is unanswered expires."""
        return self.created_at + int(self.request.completion_window[:-1]) * 3600


class Checked(Record):
    """How the lines of the input were found."""

    at: int
    job_id: str | None
    """The job that the good lines are; None if there is none: the batch has failed."""
    num_wrong: int
    """Lines that are no requests."""
    model: str
    errors: list[LineError]
    """What is wrong with them, or with the whole input: the first."""


class Cancelled(Record):
    """That it shall end early."""

    at: int


class Ended(Record):
    """How it ended."""

    status: EndStatus
    finalizing_at: int | None
    at: int
    output_file_id: str | None
    error_file_id: str | None
    counts: RequestCounts
    usage: BatchUsage | None


class BatchState(NamedTuple):
    """All that is known of a batch."""

    spec: BatchSpec
    checked: Checked | None
    cancelled: Cancelled | None
    end: Ended | None


class OpenBatch(NamedTuple):
    """A batch without an end, or one that is just being made and may never be."""

    id: str
    tenant: str
    since: datetime
    """When its making began, in UTC."""


R = TypeVar("R", bound=Record)


class BatchRecords:
    """The batches of all tenants. Every method raises UnavailableError if the store does not answer."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def now(self) -> int:
        """Unix seconds."""
        return int(self._clock())

    async def create(self, tenant: str, request: BatchRequest, key: str | None, traceparent: str) -> BatchState:
        """A new batch; under a ``key`` that made one before, that one.

        Raises ConflictError if it was made of another request, QuotaError if the tenant has too many open ones.
        """
        batch_id = new_id("batch_", self._clock())
        if key is not None:
            batch_id = await self._claim(tenant, request, key, batch_id)
            with contextlib.suppress(NotFoundError):
                return await self.get(tenant, batch_id)
        await self._check_room(tenant)
        spec = BatchSpec(id=batch_id, tenant=tenant, request=request, created_at=self.now(), traceparent=traceparent)
        await self._store.put(_open_mark(tenant, batch_id), tenant.encode())
        await self._create(tenant, batch_id, "spec", spec)
        return await self.get(tenant, batch_id)

    async def get(self, tenant: str, batch_id: str) -> BatchState:
        """A batch as it is now. Raises NotFoundError if it is not there or not the tenant's."""
        if not _ID.fullmatch(batch_id):
            raise _not_found(batch_id)
        spec, checked, cancelled, end = await asyncio.gather(
            self._read(tenant, batch_id, "spec", BatchSpec),
            self._read(tenant, batch_id, "checked", Checked),
            self._read(tenant, batch_id, "cancelled", Cancelled),
            self._read(tenant, batch_id, "end", Ended),
        )
        if spec is None:
            raise _not_found(batch_id)
        return BatchState(spec, checked, cancelled, end)

    async def page(self, tenant: str, page: Page) -> tuple[list[BatchState], bool]:
        """Some batches, newest first, and whether there are more."""
        found: list[BatchState] = []
        for batch_id in page.rest(await self._store.folders(layout.batches_prefix(tenant))):
            with contextlib.suppress(NotFoundError):  # one that is just being made, or removed
                state = await self.get(tenant, batch_id)
                if len(found) == page.limit:
                    return found, True
                found.append(state)
        return found, False

    async def cancel(self, state: BatchState) -> None:
        """Notes that it shall end early; the first time is the one that counts."""
        await self._create(state.spec.tenant, state.spec.id, "cancelled", Cancelled(at=self.now()))

    async def check(self, state: BatchState, checked: Checked) -> None:
        """Notes how the lines were found, unless that is known."""
        await self._create(state.spec.tenant, state.spec.id, "checked", checked)

    async def keep_wrong(self, spec: BatchSpec, number: int, lines: bytes) -> None:
        """Keeps lines of the error file, unless they are there; ``number``: how many times that was done before."""
        await self._store.create(_wrong(spec, number), lines)

    async def wrong(self, spec: BatchSpec) -> AsyncIterator[bytes]:
        """What ``keep_wrong`` kept, in its order."""
        number = 0
        while (lines := await self._store.get(_wrong(spec, number), MAX_WRONG_BYTES)) is not None:
            yield lines
            number += 1

    async def finish(self, state: BatchState, end: Ended) -> None:
        """Notes how it ended, unless that is known."""
        await self._create(state.spec.tenant, state.spec.id, "end", end)

    async def close(self, tenant: str, batch_id: str) -> None:
        """Leaves it out of ``open`` from now on."""
        await self._store.delete(_open_mark(tenant, batch_id))

    async def open(self) -> AsyncIterator[OpenBatch]:
        """Every batch that has work left, of all tenants."""
        async for info in self._store.list(OPEN_PREFIX):
            if (tenant := await self._store.get(info.key, MAX_RECORD_BYTES)) is not None:
                yield OpenBatch(info.key.rpartition("/")[2], tenant.decode(), info.modified)

    async def sweep(self, days: int) -> None:
        """Removes what was made so many days ago, and more: batches, and which keys made them."""
        oldest_s = self._clock() - days * 24 * 3600
        for prefix in ("batches/", "batch-keys/"):
            async for info in self._store.list(prefix):
                if info.modified.timestamp() < oldest_s:
                    await self._store.delete(info.key)

    async def _check_room(self, tenant: str) -> None:
        num_open = 0
        async for _ in self._store.list(_open_mark(tenant, "")):
            num_open += 1
        if num_open >= MAX_OPEN:
            message = (
                f"You have {MAX_OPEN} batches that have not ended, as many as may be. Wait for one, or cancel one."
            )
            raise QuotaError(message, quota="batches", retry_after_s=60.0)

    async def _claim(self, tenant: str, request: BatchRequest, key: str, batch_id: str) -> str:
        """The id of the batch that ``key`` makes or made."""
        name = f"batch-keys/{layout.tenant_hash(tenant)}/{hashlib.sha256(key.encode()).hexdigest()}"
        own = f"{batch_id} {hashlib.sha256(request.model_dump_json().encode()).hexdigest()}".encode()
        if await self._store.create(name, own):
            return batch_id
        kept = await self._store.get(name, MAX_RECORD_BYTES) or own
        if kept.partition(b" ")[2] != own.partition(b" ")[2]:
            raise ConflictError("This idempotency key made another batch. Take a new one.")
        return kept.partition(b" ")[0].decode()

    async def _create(self, tenant: str, batch_id: str, name: str, record: Record) -> None:
        await self._store.create(f"{layout.batch(tenant, batch_id)}/{name}", record.model_dump_json().encode())

    async def _read(self, tenant: str, batch_id: str, name: str, kind: type[R]) -> R | None:
        data = await self._store.get(f"{layout.batch(tenant, batch_id)}/{name}", MAX_RECORD_BYTES)
        try:
            return kind.model_validate_json(data) if data else None
        except ValidationError as error:
            raise InternalError(f"The record of batch {batch_id} cannot be read.") from error


def _open_mark(tenant: str, batch_id: str) -> str:
    return f"{OPEN_PREFIX}{layout.tenant_hash(tenant)}/{batch_id}"


def _wrong(spec: BatchSpec, number: int) -> str:
    return f"{layout.batch(spec.tenant, spec.id)}/wrong/{number:06}"


def _not_found(batch_id: str) -> NotFoundError:
    return NotFoundError(f"There is no batch {batch_id[:64]!r}.", field="batch_id")
