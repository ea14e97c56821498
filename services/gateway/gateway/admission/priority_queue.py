"""Live work before batch work, each fair between tenants; batch work that has waited long enough is live.

An aged job joins its tenant's live jobs at the end, so it cannot wait for ever, and its tenant gains no more than its
share. Pure; time is passed in.
"""

from __future__ import annotations

from enum import Enum
from typing import Generic, Protocol, TypeVar

from gateway.admission.fair_queue import FairQueue, Job


class Priority(Enum):
    """Who goes first."""

    LIVE = "live"
    """Somebody waits for the answer."""
    BATCH = "batch"
    """Nobody does."""


class PriorityJob(Job, Protocol):
    """What can be queued here."""

    @property
    def priority(self) -> Priority:
        """Its class when it came."""


J = TypeVar("J", bound=PriorityJob)


class PriorityQueue(Generic[J]):
    """Two fair queues, one before the other."""

    def __init__(self, ageing_s: float) -> None:
        """``ageing_s``: seconds after which a batch job counts as live."""
        self._ageing_s = ageing_s
        self._live: FairQueue[J] = FairQueue()
        self._batch: FairQueue[J] = FairQueue()
        self._batch_since: dict[J, float] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._live) + len(self._batch)

    def push(self, job: J, now_s: float) -> None:
        """Queues a job."""
        if job.priority is Priority.LIVE:
            self._live.push(job)
        else:
            self._batch.push(job)
            self._batch_since[job] = now_s

    def pop(self, now_s: float) -> J | None:
        """The job whose turn it is; None if there is none."""
        self._age(now_s)
        job = self._live.pop() or self._batch.pop()
        if job:
            self._batch_since.pop(job, None)
        return job

    def remove(self, job: J) -> None:
        """Takes a job out, wherever it is."""
        self._batch_since.pop(job, None)
        if not self._live.remove(job):
            self._batch.remove(job)

    def rest(self) -> None:
        """See FairQueue."""
        self._live.rest()
        self._batch.rest()

    def num_jobs(self, tenant: str) -> int:
        """How many jobs of one tenant wait."""
        return self._live.num_jobs(tenant) + self._batch.num_jobs(tenant)

    def cost_ahead(self, job: J) -> float:
        """Work that is served before a newcomer, going by what waits now.

        A live job waits for all live jobs or, if that is less, for its tenant's own ones at the tenant's share; a batch
        job waits for all that is there.
        """
        if job.priority is Priority.BATCH:
            return self._live.cost + self._batch.cost
        own_cost = self._live.cost_of(job.tenant)
        return min(self._live.cost, own_cost * self._live.weight / job.weight)

    def _age(self, now_s: float) -> None:
        aged = []
        for job, since_s in self._batch_since.items():
            if now_s - since_s < self._ageing_s:
                break
            aged.append(job)
        for job in aged:
            del self._batch_since[job]
            self._batch.remove(job)
            self._live.push(job)
