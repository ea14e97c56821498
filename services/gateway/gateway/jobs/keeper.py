"""Keeps every open job going, in turns with the other gateways. Knows what is open, and leaves the rest to Keeping."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from gateway.jobs.keeping import Keeping, Tools
from gateway.jobs.sweeping import sweep
from gateway.jobs.turns import Turn
from gateway.metrics import jobs as metrics
from gateway.routing.tasks import Tasks
from trichord.errors import TrichordError
from trichord.jobs.job_records import OpenJob
from trichord.jobs.objects import ObjectStore

log = structlog.get_logger(__name__)

INTERVAL_S = 1.0
"""Between two rounds if nothing happens."""
LEAST_INTERVAL_S = 0.1
"""Between two rounds whatever happens; a slow store makes it longer."""
SWEEP_INTERVAL = timedelta(hours=1)
MAX_AT_ONCE = 8
"""Jobs worked on at once."""
ABANDONED_AFTER = timedelta(hours=1)
"""A job that was still not taken completely then never will be: its gateway died."""


class Keeper:
    """One gateway's."""

    def __init__(self, tools: Tools, store: ObjectStore, turn: Turn) -> None:
        self._tools, self._store, self._turn = tools, store, turn
        self._keepings: dict[str, Keeping] = {}
        self._woken = asyncio.Event()
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._tasks = Tasks()
        self._swept = tools.clock()

    def start(self) -> None:
        """Begins, until ``close``."""
        self._tasks.start(self._run(), name="keep jobs")

    def wake(self) -> None:
        """Something happened: a job was taken or cancelled, an item ended."""
        self._woken.set()

    @property
    def kept(self) -> Sequence[Keeping]:
        """The open jobs, as of the last round; none if it was not this gateway's turn."""
        return list(self._keepings.values())

    async def close(self) -> None:
        """Stops, and leaves the turn to another."""
        await self._tasks.cancel()
        with contextlib.suppress(TrichordError):
            await self._turn.end()

    async def round(self) -> None:
        """Does for every open job what is to be done now, if it is this gateway's turn. Raises UnavailableError."""
        is_mine = await self._turn.is_mine()
        open_jobs = [job async for job in self._tools.records.open_jobs()] if is_mine else []
        ids = {job.job_id for job in open_jobs}
        self._keepings = {job_id: keeping for job_id, keeping in self._keepings.items() if job_id in ids}
        await asyncio.gather(*(self._keep(job) for job in open_jobs))
        metrics.kept(self.kept, self._tools.clock())
        if is_mine:
            await self._sweep(self._tools.clock())

    async def _run(self) -> None:
        while True:
            began_s = time.monotonic()
            try:
                await self.round()
            except TrichordError as error:
                log.warning("jobs are not kept", error=error.message)
            except Exception as error:  # whatever it is, the next round may do
                log.error("jobs cannot be kept", exc_info=error)
            await asyncio.sleep(max(LEAST_INTERVAL_S, time.monotonic() - began_s))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), INTERVAL_S)
            self._woken.clear()

    async def _sweep(self, now: datetime) -> None:
        if now - self._swept >= SWEEP_INTERVAL:
            self._swept = now
            kept_for = timedelta(days=self._tools.settings.result_days)
            if num_jobs := await sweep(self._store, self._tools.records, kept_for, now):
                log.info("old jobs removed", num_jobs=num_jobs)

    async def _keep(self, job: OpenJob) -> None:
        async with self._slots:
            try:
                await self._go_on(job)
            except TrichordError as error:
                log.warning("job waits", job=job.job_id, error=error.message)
            except Exception as error:  # one that cannot be read must not stop the others
                log.error("job cannot be kept", job=job.job_id, exc_info=error)

    async def _go_on(self, job: OpenJob) -> None:
        keeping = self._keepings.get(job.job_id) or await self._taken_up(job)
        if keeping and await keeping.go_on():
            self._keepings.pop(job.job_id, None)

    async def _taken_up(self, job: OpenJob) -> Keeping | None:
        """A job that this gateway did not keep before; None if it has ended, or is not taken completely yet."""
        records = self._tools.records
        record = await records.find(job.tenant, job.job_id)
        if record is None:
            if self._tools.clock() - job.since > ABANDONED_AFTER:
                log.warning("abandoned job removed", job=job.job_id)
                await records.forget(job.tenant, job.job_id)
            return None
        if await records.end(job.tenant, job.job_id):
            await records.close(job.tenant, job.job_id)
            return None
        await records.put_in_index(record)
        keeping = self._keepings[job.job_id] = Keeping(record, self._tools)
        return keeping
