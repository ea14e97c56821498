"""On which day each key was last used: what an operator asks before revoking one.

Kept to the day, so that a key is written about once a day and nobody can be followed by it. Lives beside the key file;
where that is mounted read-only, it is known in the audit log alone.
"""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from gateway.identity import private_file
from gateway.identity.key_file import MAX_FILE_BYTES
from trichord.errors import SettingsError

log = structlog.get_logger(__name__)

_DAYS = TypeAdapter(dict[str, date])


def beside(key_file: Path) -> Path:
    """Where the days of that file's keys are."""
    return key_file.with_name(f"{key_file.name}.used")


def load(path: Path) -> dict[str, date]:
    """The day of each key's last use, by its id; empty if nothing readable is there: it is only for information."""
    try:
        return _DAYS.validate_json(private_file.read(path, MAX_FILE_BYTES))
    except (OSError, ValidationError, SettingsError):
        return {}


class LastUsed:
    """The days at ``path``, shared with other gateways."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._days: dict[str, date] = {}

    async def note(self, key_id: str, today: date) -> bool:
        """Notes a use; tells whether it is this gateway's first of the day. A file that cannot be written is left."""
        if self._days.get(key_id) == today:
            return False
        self._days[key_id] = today
        try:
            await asyncio.to_thread(self._write, key_id, today)
        except OSError as error:
            log.warning("last use is not kept", error=error.strerror)
        return True

    def _write(self, key_id: str, today: date) -> None:
        with private_file.locked(self._path):
            days = load(self._path)
            if days.get(key_id) != today:
                private_file.replace(self._path, _DAYS.dump_json({**days, key_id: today}))
