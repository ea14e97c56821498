"""Keeps every open batch going, in turns with the other gateways, and removes what is kept no longer.

Knows what is open, and leaves the rest to BatchWork.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta

import structlog

from gateway.jobs.turns import Turn
from gateway.openai_http.batch_records import BatchRecords, OpenBatch
from gateway.openai_http.batch_work import BatchWork
from gateway.openai_http.file_records import FileRecords
from gateway.routing.tasks import Tasks
from trichord.errors import NotFoundError, TrichordError

log = structlog.get_logger(__name__)

INTERVAL_S = 2.0
"""Between two rounds if nothing happens."""
SWEEP_INTERVAL_S = 3600.0
MAX_AT_ONCE = 4
"""Batches worked on at once: each may parse megabytes."""
ABANDONED_AFTER = timedelta(hours=1)
"""A batch that was not made then never will be: its gateway died."""
LONGEST_DAYS = 7
"""A batch may take so long before its results begin to age."""


class BatchKeeper:
    """One gateway's."""

    def __init__(
        self, work: BatchWork, batches: BatchRecords, files: FileRecords, turn: Turn, result_days: int
    ) -> None:
        self._work, self._batches, self._files, self._turn = work, batches, files, turn
        self._result_days = result_days
        self._busy: set[str] = set()
        self._woken = asyncio.Event()
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._tasks = Tasks()
        self._swept_s = time.monotonic()

    def start(self) -> None:
        """Begins, until ``close``."""
        self._tasks.start(self._run(), name="keep batches")

    def wake(self) -> None:
        """Something happened: a batch was made or cancelled."""
        self._woken.set()

    async def close(self) -> None:
        """Stops, and leaves the turn to another."""
        await self._tasks.cancel()
        with contextlib.suppress(TrichordError):
            await self._turn.end()

    async def round(self) -> None:
        """Starts work on every open batch that none is done on, if it is this gateway's turn.

        Raises UnavailableError.
        """
        if not await self._turn.is_mine():
            return
        async for batch in self._batches.open():
            if batch.id not in self._busy:
                self._busy.add(batch.id)
                self._tasks.start(self._go_on(batch), name="keep a batch")
        if time.monotonic() - self._swept_s >= SWEEP_INTERVAL_S:
            self._swept_s = time.monotonic()
            await self.sweep()

    async def sweep(self) -> None:
        """Removes files and batches whose time is over. Raises UnavailableError."""
        if num_files := await self._files.sweep():
            log.info("expired files removed", num_files=num_files)
        await self._batches.sweep(self._result_days + LONGEST_DAYS)

    async def _run(self) -> None:
        while True:
            try:
                await self.round()
            except TrichordError as error:
                log.warning("batches are not kept", error=error.message)
            except Exception as error:  # whatever it is, the next round may do
                log.error("batches cannot be kept", exc_info=error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), INTERVAL_S)
            self._woken.clear()

    async def _go_on(self, batch: OpenBatch) -> None:
        try:
            async with self._slots:
                await self._work.advance(batch.tenant, batch.id)
        except NotFoundError:
            if datetime.now(UTC) - batch.since > ABANDONED_AFTER:
                await self._batches.close(batch.tenant, batch.id)
        except TrichordError as error:
            log.warning("batch waits", batch=batch.id, error=error.message)
        except Exception as error:  # one that cannot be read must not stop the others
            log.error("batch cannot be kept", batch=batch.id, exc_info=error)
        finally:
            self._busy.discard(batch.id)
