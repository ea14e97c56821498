"""The key file as a running gateway knows it: read again when it changes, so that a revoked key stops working.

Knows nothing of calls.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.identity.api_key import ApiKey
from gateway.identity.key_file import KeyFile, KeyRecord, load
from trichord.errors import SettingsError

log = structlog.get_logger(__name__)

STALE_S = 300.0
"""How long keys work on when their file is gone or broken; then nobody is let in."""

_NO_DIGEST = "0" * 64


class Keys:
    """One state of the file, indexed."""

    def __init__(self, file: KeyFile) -> None:
        self._by_id = {record.id: record for record in file.keys}
        self._by_certificate = {record.certificate: record for record in file.keys if record.certificate}

    @property
    def has_certificates(self) -> bool:
        """Whether any name in certificates is known."""
        return bool(self._by_certificate)

    def of_key(self, key: ApiKey, now: datetime) -> KeyRecord | None:
        """The record of a key that is right and has not expired."""
        record = self._by_id.get(key.id)
        digest = record.sha256 if record and record.sha256 else _NO_DIGEST  # an unknown id takes as long as a known one
        right = hmac.compare_digest(key.sha256(), digest)
        return record if right and record and now < record.expires else None

    def of_certificate(self, names: Iterable[str], now: datetime) -> KeyRecord | None:
        """The record of a verified certificate's names; None if none is known, or they belong to several records."""
        records = [self._by_certificate[name] for name in set(names) if name in self._by_certificate]
        return records[0] if len(records) == 1 and now < records[0].expires else None


class KeyRing:
    """The keys at ``path``, at most ``refresh_s`` behind the file. Raises SettingsError if they cannot be read now."""

    def __init__(self, path: Path, refresh_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._refresh_s, self._clock = path, refresh_s, clock
        self._lock = asyncio.Lock()
        self._mark: tuple[int, ...] | None = None
        self._keys = Keys(KeyFile())
        self._seen_s = self._looked_s = clock()
        self._read()

    async def keys(self) -> Keys:
        """The keys now. While the file is looked at everyone waits: nobody is let in by what may be revoked."""
        if self._is_due():
            async with self._lock:
                if self._is_due():
                    await asyncio.to_thread(self._look)
                    self._looked_s = self._clock()
        return self._keys

    def _is_due(self) -> bool:
        return self._clock() - self._looked_s >= self._refresh_s

    def _look(self) -> None:
        try:
            self._read()
        except SettingsError as error:
            log.error("key file", error=error.message)
            if self._clock() - self._seen_s >= STALE_S:
                self._keys = Keys(KeyFile())

    def _read(self) -> None:
        mark = _mark(self._path)
        if mark is None or mark != self._mark:
            self._keys = Keys(load(self._path))
            self._mark = mark
            log.info("keys read", file=str(self._path))
        self._seen_s = self._clock()


def _mark(path: Path) -> tuple[int, ...] | None:
    """Changes when the file does: also when it is replaced, and when a symbolic link to it is turned."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def utc_now() -> datetime:
    """The time of day that expiry is counted by."""
    return datetime.now(UTC)
