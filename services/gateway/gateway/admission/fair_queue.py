"""A queue that is fair between tenants by weight: start-time fair queueing.

Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996. Every tenant's head has a start tag on a virtual clock:
where its previous item would have finished if the tenant had been served at its share all along, but not before the
clock when the tenant came back. The least start tag goes first, and the clock moves to it. While two tenants both wait,
what each got by its weight differs by no more than one item of each (theorem 1). Tags are given to heads only, so that
an item that leaves unserved costs its tenant nothing. Pure; knows no clock but its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Job(Protocol):
    """What can be queued; compared by identity."""

    @property
    def tenant(self) -> str:
        """Whose it is."""

    @property
    def cost(self) -> int:
        """How much work it is, at least 1."""

    @property
    def weight(self) -> int:
        """Share of its tenant, at least 1; the same for all its jobs."""


J = TypeVar("J", bound=Job)


@dataclass
class _Flow(Generic[J]):
    """A tenant that waits."""

    weight: int
    start: float
    """Start tag of its head."""
    jobs: deque[J] = field(default_factory=deque)
    cost: int = 0
    """Of its jobs together."""


class FairQueue(Generic[J]):
    """Waiting jobs: first come, first served within a tenant."""

    def __init__(self) -> None:
        self._flows: dict[str, _Flow[J]] = {}
        self._finishes: dict[str, float] = {}
        """Finish tag of the job served last, of tenants that may be ahead of the clock."""
        self._clock = 0.0
        self.cost = 0
        """Work that waits."""
        self.weight = 0
        """Of all tenants that wait, together."""
        self._num_jobs = 0

    def __len__(self) -> int:
        return self._num_jobs

    def push(self, job: J) -> None:
        """Queues a job behind its tenant's others."""
        flow = self._flows.get(job.tenant)
        if flow is None:
            flow = _Flow(job.weight, max(self._clock, self._finishes.get(job.tenant, 0.0)))
            self._flows[job.tenant] = flow
            self.weight += flow.weight
        flow.jobs.append(job)
        self._count(flow, job, 1)

    def pop(self) -> J | None:
        """The job whose turn it is; None if there is none."""
        if not self._flows:
            return None
        flow = min(self._flows.values(), key=lambda flow: flow.start)
        job = flow.jobs.popleft()
        self._clock = flow.start
        flow.start = self._finishes[job.tenant] = self._clock + job.cost / flow.weight
        self._count(flow, job, -1)
        return job

    def remove(self, job: J) -> bool:
        """Takes a job out of its place; False if it is not there."""
        flow = self._flows.get(job.tenant)
        if flow is None or job not in flow.jobs:
            return False
        flow.jobs.remove(job)
        self._count(flow, job, -1)
        return True

    def rest(self) -> None:
        """Says that nothing waits and nothing is being served: all tags are forgotten, nobody is ahead of anybody."""
        self._finishes.clear()
        self._clock = 0.0

    def num_jobs(self, tenant: str) -> int:
        """How many jobs of one tenant wait."""
        flow = self._flows.get(tenant)
        return len(flow.jobs) if flow else 0

    def cost_of(self, tenant: str) -> int:
        """Work of one tenant that waits."""
        flow = self._flows.get(tenant)
        return flow.cost if flow else 0

    def _count(self, flow: _Flow[J], job: J, sign: int) -> None:
        flow.cost += sign * job.cost
        self.cost += sign * job.cost
        self._num_jobs += sign
        if not flow.jobs:
            del self._flows[job.tenant]
            self.weight -= flow.weight
        if len(self._finishes) > 2 * len(self._flows) + 64:
            self._finishes = {name: finish for name, finish in self._finishes.items() if finish > self._clock}
