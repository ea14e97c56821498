"""The object store: a directory or an S3 bucket, behind the few verbs that jobs need. Knows no job."""

from __future__ import annotations

import builtins
import os
import re
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store
from prometheus_client import Histogram

from trichord.errors import OverloadedError, SettingsError, UnavailableError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

log = structlog.get_logger(__name__)

STREAM_CHUNK_BYTES = 1 << 20
"""Least bytes of a piece of a stream, but for the last."""
PARTS_AT_ONCE = 2
"""Parts of a stream, of 5 MiB each, that are on their way to S3: what one stream holds in memory."""
MAX_DELETED_AT_ONCE = 1000
"""What S3 takes in one request."""

DURATION = Histogram(
    "trichord_jobs_store_duration_seconds",
    "Seconds that the object store took, by operation and by what came of it: ok or away (no sensible answer in time).",
    ["operation", "outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

_KEY = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9._-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*")
_HTTP: ClientConfig = {
    "connect_timeout": timedelta(seconds=3),
    "read_timeout": timedelta(seconds=10),
    "timeout": timedelta(minutes=2),
}
_RETRIES: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing tells it."""

    key: str
    size: int
    """Bytes."""
    modified: datetime
    """In UTC."""


class ObjectStore:
    """Objects by key. Each method raises UnavailableError if the store does not answer sensibly in time.

    Keys are parts of ``[A-Za-z0-9._-]`` with ``/`` between them; any other is a bug, a ValueError.
    """

    def __init__(self, inner: LocalStore | S3Store) -> None:
        self._inner = inner

    async def create(self, key: str, data: bytes) -> bool:
        """Writes an object that is not there yet, whole or not at all; False, and no change, if it is there.

        S3 may say False of what this very call has written, when an answer of it is lost: so False means that the
        object is there, and no more.
        """
        with _asked("create"):
            try:
                await obstore.put_async(self._inner, _checked(key), data, mode="create")
            except AlreadyExistsError:
                return False
            return True

    async def put(self, key: str, data: bytes) -> None:
        """Writes an object, in the place of one that may be there."""
        with _asked("put"):
            await obstore.put_async(self._inner, _checked(key), data)

    async def get(self, key: str, max_bytes: int) -> bytes | None:
        """An object's bytes; None if it is not there. Raises OverloadedError if it has more than ``max_bytes``."""
        with _asked("get"):
            try:
                found = await obstore.get_async(self._inner, _checked(key))
            except FileNotFoundError:
                return None
            if found.meta["size"] > max_bytes:
                raise OverloadedError(
                    f"An object has {found.meta['size']} bytes, more than the {max_bytes} allowed here."
                )
            return bytes(await found.bytes_async())

    async def open_read(self, key: str) -> AsyncIterator[bytes] | None:
        """An object's bytes in pieces of about 1 MiB; None if it is not there."""
        with _asked("open"):
            try:
                found = await obstore.get_async(self._inner, _checked(key))
            except FileNotFoundError:
                return None
        return _pieces(found.stream(STREAM_CHUNK_BYTES))

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes]) -> int:
        """Writes an object as its bytes come, whole or not at all; returns how many they were.

        What ``chunks`` raises is raised, and nothing is written.
        """
        counted = _Counted(chunks)
        try:
            with _asked("put_stream"):
                await obstore.put_async(
                    self._inner, _checked(key), aiter(counted), use_multipart=True, max_concurrency=PARTS_AT_ONCE
                )
        except Exception:
            if counted.error:
                raise counted.error from None  # the caller's own, as it was
            raise
        return counted.num_bytes

    async def exists(self, key: str) -> bool:
        """Whether it is there."""
        with _asked("exists"):
            try:
                await obstore.head_async(self._inner, _checked(key))
            except FileNotFoundError:
                return False
            return True

    async def delete(self, *keys: str) -> None:
        """Removes objects; those that are not there are no error."""
        for begin in range(0, len(keys), MAX_DELETED_AT_ONCE):
            some = [_checked(key) for key in keys[begin : begin + MAX_DELETED_AT_ONCE]]
            with _asked("delete"):
                try:
                    await obstore.delete_async(self._inner, some)
                except FileNotFoundError:  # a directory says so of one, and leaves others
                    await self._delete_one_by_one(some)

    async def _delete_one_by_one(self, keys: builtins.list[str]) -> None:
        for key in keys:
            try:
                await obstore.delete_async(self._inner, key)
            except FileNotFoundError:
                continue

    async def delete_all(self, prefix: str) -> None:
        """Removes all objects whose keys begin with ``prefix``, which ends in ``/``."""
        await self.delete(*[found.key async for found in self.list(prefix)])

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[ObjectInfo]:
        """The objects whose keys begin with ``prefix``, which ends in ``/``, and come after ``after``; in no order."""
        pages = aiter(obstore.list(self._inner, _checked_prefix(prefix), offset=after or None))
        while True:
            with _asked("list"):
                page = await anext(pages, None)
            if page is None:
                return
            for found in page:
                yield ObjectInfo(found["path"], found["size"], found["last_modified"])

    async def folders(self, prefix: str) -> builtins.list[str]:
        """The next parts of the keys under ``prefix`` that have parts after them, sorted, e.g. ids of files."""
        with _asked("folders"):
            found = await obstore.list_with_delimiter_async(self._inner, _checked_prefix(prefix))
        return sorted(path.rpartition("/")[2] for path in found["common_prefixes"])


def open_store(url: str) -> ObjectStore:
    """The store at ``url``: a directory (made if missing), ``file:///directory`` or ``s3://bucket/prefix``.

    S3's credentials, region and endpoint are from the usual AWS_* variables. Raises SettingsError for any other URL
    and for a directory that cannot be made.
    """
    parts = urlsplit(url)
    try:
        if parts.scheme == "s3" and parts.netloc:
            return ObjectStore(_s3(parts.netloc, parts.path.strip("/")))
        if url and "://" not in url:
            return ObjectStore(LocalStore(url, mkdir=True))
        if parts.scheme == "file" and not parts.netloc and parts.path:
            return ObjectStore(LocalStore(unquote(parts.path), mkdir=True))
    except (BaseError, OSError, ValueError) as error:
        raise SettingsError(
            "The store of jobs cannot be opened. Is its directory writable, and are S3's AWS_* variables right?"
        ) from error
    raise SettingsError("The store of jobs is none of a directory, file:///directory and s3://bucket/prefix.")


def _s3(bucket: str, prefix: str) -> S3Store:
    # Options given here are in the place of all that the environment says of HTTP.
    http: ClientConfig = {**_HTTP, "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true"}
    return S3Store(bucket, prefix=prefix or None, client_options=http, retry_config=_RETRIES)


@contextmanager
def _asked(operation: str) -> Iterator[None]:
    """Times what the store does, and tells of its failures in our own words: its own hold paths."""
    began_s, outcome = time.perf_counter(), "ok"
    try:
        yield
    except (BaseError, OSError) as error:
        outcome = "away"
        log.warning("the store of jobs is away", operation=operation, error=type(error).__name__)
        raise UnavailableError("The store of jobs does not answer. Try again.", retry_after_s=5.0) from error
    finally:
        DURATION.labels(operation, outcome).observe(time.perf_counter() - began_s)


async def _pieces(stream: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    pieces = aiter(stream)
    while True:
        with _asked("read"):
            piece = await anext(pieces, None)
        if piece is None:
            return
        yield bytes(piece)


class _Counted:
    """A stream that knows how much of it was taken, and what broke it: obstore wraps that or not."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks, self.num_bytes = chunks, 0
        self.error: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                self.num_bytes += len(chunk)
                yield chunk
        except Exception as error:
            self.error = error
            raise


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError("this is no key of an object")
    return key


def _checked_prefix(prefix: str) -> str:
    if not prefix.endswith("/"):
        raise ValueError("a prefix ends in a slash: the store knows whole parts of keys alone")
    return _checked(prefix[:-1]) + "/"
