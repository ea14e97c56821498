"""Items of a job as objects: small ones by the pack, large ones alone. Knows no job's state."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable

from trichord.errors import NotFoundError, OverloadedError, RequestError
from trichord.jobs import layout
from trichord.jobs.message import delimited, split_delimited
from trichord.jobs.objects import ObjectStore
from trichord.jobs.settings import JobsSettings
from trichord.v1 import jobs_pb2

MAX_PACK_BYTES = layout.PACK_ITEMS * (layout.LONE_BYTES + 8)
"""With the length before each."""


class ItemWriter:
    """Writes the items of one submission as they come, holding one pack of them at most, and digests them.

    For an item that is an object of its own, one without a request stands in the pack, as no item is.
    """

    def __init__(self, store: ObjectStore | None, tenant: str, job_id: str, settings: JobsSettings) -> None:
        """``store``: None to write nothing, and only digest."""
        self._store, self._tenant, self._job_id, self._settings = store, tenant, job_id, settings
        self._digest = hashlib.sha256()
        self._pack: list[jobs_pb2.JobItem] = []
        self._num_bytes = 0
        self.num_items = 0
        self.upload = secrets.token_hex(8)
        """Names the objects of this submission."""

    @property
    def sha256(self) -> bytes:
        """Over all items so far: their SHA-256 digests, one after another."""
        return self._digest.digest()

    async def add(self, item: jobs_pb2.JobItem) -> None:
        """Takes the next. Raises RequestError for one that is too large, or too many."""
        data = item.SerializeToString(deterministic=True)
        self._num_bytes += len(data)
        self._check(len(data))
        self._digest.update(hashlib.sha256(data).digest())
        is_alone = len(data) > layout.LONE_BYTES
        if is_alone and self._store:
            await self._store.create(layout.lone_item(*self._names, self.num_items), data)
        self._pack.append(jobs_pb2.JobItem(custom_id=item.custom_id) if is_alone else item)
        self.num_items += 1
        if len(self._pack) == layout.PACK_ITEMS:
            await self._write_pack()

    async def finish(self) -> None:
        """Writes what is left. Raises RequestError if there was no item."""
        if not self.num_items:
            raise RequestError("A job has no items.", field="items")
        if self._pack:
            await self._write_pack()

    async def discard(self) -> None:
        """Removes what was written."""
        if self._store:
            await self._store.delete_all(layout.items_prefix(*self._names))

    @property
    def _names(self) -> tuple[str, str, str]:
        return self._tenant, self._job_id, self.upload

    async def _write_pack(self) -> None:
        if self._store:
            await self._store.create(layout.pack(*self._names, self.num_items - 1), delimited(self._pack))
        self._pack.clear()

    def _check(self, num_bytes: int) -> None:
        limits = self._settings
        if self.num_items >= limits.max_items:
            raise RequestError(f"A job has more than {limits.max_items} items. Submit several jobs.", field="items")
        if num_bytes > limits.max_item_bytes:
            text = (
                f"An item has {num_bytes} bytes, more than the {limits.max_item_bytes} allowed. Send media by handle."
            )
            raise RequestError(text, field=f"items[{self.num_items}]")
        if self._num_bytes > limits.max_job_bytes:
            raise RequestError(f"A job has more than {limits.max_job_bytes} bytes. Submit several jobs.", field="items")


async def read_items(
    store: ObjectStore, record: jobs_pb2.JobRecord, indices: Iterable[int], limit_bytes: int, max_bytes: int | None
) -> AsyncIterator[tuple[int, jobs_pb2.JobItem | None]]:
    """See ``JobRecords.items``. ``limit_bytes``: the largest that an item can be."""
    async for index, packed in _packed(store, record, indices):
        item: jobs_pb2.JobItem | None = packed
        if not packed.HasField("request"):
            key = layout.lone_item(record.tenant, record.job.id, record.upload, index)
            item = await _read_alone(store, key, limit_bytes, max_bytes)
        elif max_bytes is not None and packed.ByteSize() > max_bytes:
            item = None
        yield index, item


async def read_custom_ids(
    store: ObjectStore, record: jobs_pb2.JobRecord, indices: Iterable[int]
) -> AsyncIterator[tuple[int, str]]:
    """See ``JobRecords.custom_ids``."""
    async for index, packed in _packed(store, record, indices):
        yield index, packed.custom_id


async def _packed(
    store: ObjectStore, record: jobs_pb2.JobRecord, indices: Iterable[int]
) -> AsyncIterator[tuple[int, jobs_pb2.JobItem]]:
    """What stands in packs, each of them read once."""
    key, pack = "", list[jobs_pb2.JobItem]()
    for index in indices:
        if key != (needed := layout.pack(record.tenant, record.job.id, record.upload, index)):
            key, pack = needed, await _read_pack(store, needed)
        yield index, _in_pack(pack, index, record)


def _in_pack(pack: list[jobs_pb2.JobItem], index: int, record: jobs_pb2.JobRecord) -> jobs_pb2.JobItem:
    place = index % layout.PACK_ITEMS
    if place >= len(pack):
        raise NotFoundError(f"Item {index} of job {record.job.id} is not there.")
    return pack[place]


async def _read_pack(store: ObjectStore, key: str) -> list[jobs_pb2.JobItem]:
    data = await store.get(key, MAX_PACK_BYTES)
    return [] if data is None else split_delimited(jobs_pb2.JobItem, data)


async def _read_alone(store: ObjectStore, key: str, limit_bytes: int, max_bytes: int | None) -> jobs_pb2.JobItem | None:
    if max_bytes is not None and max_bytes <= layout.LONE_BYTES:
        return None
    try:
        data = await store.get(key, limit_bytes if max_bytes is None else max_bytes)
    except OverloadedError:
        return None
    if data is None:
        raise NotFoundError("A large item of a job is not there.")
    return jobs_pb2.JobItem.FromString(data)
