"""Files of the OpenAI API in the object store: their bytes, and beside them what is known of each.

A file is there as soon as its ``about`` is, which is written last and deleted first. Knows no HTTP.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.openai_http.file_shapes import FileObject, Purpose
from gateway.openai_http.listing import Page, new_id
from trichord.errors import NotFoundError, QuotaError
from trichord.jobs import layout
from trichord.jobs.objects import ObjectStore
from trichord.jobs.settings import JobsSettings

log = structlog.get_logger(__name__)

MAX_FILES = 10_000
"""Files of a tenant beyond which it may add none."""
MAX_ABOUT_BYTES = 4096
ORPHAN_AGE_S = 24 * 3600.0
"""Seconds after which bytes without an ``about`` are those of an upload that was broken off."""

_ID = re.compile(r"file-[0-9a-f]{32}(-output|-errors)?")


class FileAbout(BaseModel):
    """What is known of a file."""

    model_config = ConfigDict(frozen=True)

    id: str
    filename: str
    purpose: Purpose
    num_bytes: int
    created_at: int
    """Unix seconds."""
    expires_at: int

    def told(self) -> FileObject:
        """As the API tells it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.num_bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class FileRecords:
    """The files of all tenants. Every method raises UnavailableError if the store does not answer."""

    def __init__(self, store: ObjectStore, settings: JobsSettings, clock: Callable[[], float] = time.time) -> None:
        self._store, self._settings, self._clock = store, settings, clock

    async def upload(self, tenant: str, chunks: AsyncIterable[bytes]) -> tuple[str, int]:
        """Keeps bytes as they come: the id of what is no file yet, and their number. What ``chunks`` raises is raised.

        Raises QuotaError if the tenant has as many files, or bytes of them, already as it may have.
        """
        await self._check_room(tenant)
        file_id = new_id("file-", self._clock())
        return file_id, await self._store.put_stream(layout.file_content(tenant, file_id), chunks)

    async def write(self, tenant: str, file_id: str, chunks: AsyncIterable[bytes]) -> int:
        """Keeps the bytes of a file of output, in place of those that may be there; returns their number."""
        return await self._store.put_stream(layout.file_content(tenant, file_id), chunks)

    async def keep(
        self, tenant: str, file_id: str, num_bytes: int, filename: str, purpose: Purpose, life_s: int | None = None
    ) -> FileAbout:
        """Makes a file of bytes that are there. ``life_s``: until it expires; None: as long as results are kept."""
        now = int(self._clock())
        expires_at = now + (life_s or self._settings.result_days * 24 * 3600)
        about = FileAbout(
            id=file_id,
            filename=filename,
            purpose=purpose,
            num_bytes=num_bytes,
            created_at=now,
            expires_at=expires_at,
        )
        await self._store.put(layout.file_about(tenant, file_id), about.model_dump_json().encode())
        return about

    async def drop(self, tenant: str, file_id: str) -> None:
        """Removes a file, or bytes that did not become one; nothing if there are none."""
        await self._store.delete(layout.file_about(tenant, file_id))
        await self._store.delete(layout.file_content(tenant, file_id))

    async def get(self, tenant: str, file_id: str) -> FileAbout:
        """What is known of a file. Raises NotFoundError if it is not there, not the tenant's, or has expired."""
        about = await self._find(tenant, file_id)
        if about is None:
            raise NotFoundError(f"There is no file {file_id[:64]!r}.", field="file_id")
        return about

    async def open(self, tenant: str, file_id: str) -> AsyncIterator[bytes]:
        """A file's bytes. Raises NotFoundError as ``get`` does."""
        await self.get(tenant, file_id)
        content = await self._store.open_read(layout.file_content(tenant, file_id))
        if content is None:
            raise NotFoundError(f"There is no file {file_id[:64]!r}.", field="file_id")
        return content

    async def page(self, tenant: str, page: Page, purpose: str | None) -> tuple[list[FileAbout], bool]:
        """Some files, of one purpose or of all, and whether there are more."""
        found: list[FileAbout] = []
        for file_id in page.rest(await self._store.folders(layout.files_prefix(tenant))):
            about = await self._find(tenant, file_id)
            if about is None or purpose not in (None, about.purpose):
                continue
            if len(found) == page.limit:
                return found, True
            found.append(about)
        return found, False

    async def sweep(self) -> int:
        """Removes what has expired, and what was never finished; returns how many files that were."""
        now, removed, contents, abouts = self._clock(), 0, {}, set()
        async for info in self._store.list("files/"):
            folder, _, name = info.key.rpartition("/")
            if name == "content":
                contents[folder] = info.modified.timestamp()
            else:
                abouts.add(folder)
        for folder in abouts | contents.keys():
            about = _parse(await self._store.get(f"{folder}/about", MAX_ABOUT_BYTES)) if folder in abouts else None
            ends_at = about.expires_at if about else contents.get(folder, 0.0) + ORPHAN_AGE_S
            if ends_at <= now:
                await self._store.delete(f"{folder}/about")
                await self._store.delete(f"{folder}/content")
                removed += 1
        return removed

    async def _find(self, tenant: str, file_id: str) -> FileAbout | None:
        if not _ID.fullmatch(file_id):
            return None
        about = _parse(await self._store.get(layout.file_about(tenant, file_id), MAX_ABOUT_BYTES))
        return about if about and about.expires_at > self._clock() else None

    async def _check_room(self, tenant: str) -> None:
        num_bytes = num_files = 0
        async for info in self._store.list(layout.files_prefix(tenant)):
            num_bytes += info.size
            num_files += info.key.endswith("/content")
        if num_bytes >= self._settings.max_tenant_file_bytes or num_files >= MAX_FILES:
            message = f"You have {num_files} files of {num_bytes} bytes, as many as are allowed. Delete some."
            raise QuotaError(message, quota="file_bytes" if num_files < MAX_FILES else "files")


def _parse(data: bytes | None) -> FileAbout | None:
    try:
        return FileAbout.model_validate_json(data) if data else None
    except ValidationError:
        log.error("an unreadable record of a file is left out")
        return None
