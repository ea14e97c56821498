"""Which of several gateways does what one of them must: the one whose name is in an object, as long as it renews it.

Two may believe it is their turn for a moment: what is done in turn must bear being done twice.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import datetime

from trichord.jobs.objects import ObjectStore

LEASE_S = 15.0
RENEW_AFTER_S = 5.0
"""A lease is renewed when it is so old: two renewals in a row may fail."""
_MAX_BYTES = 1024


class Turn:
    """One gateway's part in taking turns."""

    def __init__(self, store: ObjectStore, clock: Callable[[], datetime], duty: str) -> None:
        """``duty``: what is done in turns; each has turns of its own."""
        self._store, self._clock, self._key = store, clock, f"turns/{duty}"
        self._name = secrets.token_hex(8)
        self._until_s = 0.0

    async def is_mine(self) -> bool:
        """Whether it is this gateway's turn, taking it if nobody's. Raises UnavailableError."""
        now_s = self._clock().timestamp()
        if now_s < self._until_s - LEASE_S + RENEW_AFTER_S:
            return True
        self._until_s = 0.0
        lease = json.dumps({"name": self._name, "until_s": now_s + LEASE_S}).encode()
        if not await self._store.create(self._key, lease):
            if not self._is_free(await self._store.get(self._key, _MAX_BYTES), now_s):
                return False
            await self._store.put(self._key, lease)
        self._until_s = now_s + LEASE_S
        return True

    async def end(self) -> None:
        """Leaves the turn to another at once. Raises UnavailableError."""
        if self._until_s:
            self._until_s = 0.0
            await self._store.delete(self._key)

    def _is_free(self, lease: bytes | None, now_s: float) -> bool:
        """Whether it is this gateway's own, or ended."""
        try:
            found = json.loads(lease or b"{}")
            return found.get("name") == self._name or not now_s < float(found["until_s"]) <= now_s + 2 * LEASE_S
        except (ValueError, KeyError, TypeError, AttributeError):  # whatever it is, it is no lease
            return True
