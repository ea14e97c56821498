"""The replicas of one service: as many as are desired, none of them stopped before it was ready.

A loading replica is capacity on its way: it is let become ready, and only then may it go. One that goes is taken off
the list that the gateway follows, given time to end its calls, and stopped. Knows nothing of who desires how many.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import structlog

from local_cluster.process import Process
from local_cluster.restarts import RestartBudget
from local_cluster.supervisor import Supervisor
from local_cluster.topology import REPLICA_DRAIN_S
from trichord.errors import ClusterError

log = structlog.get_logger(__name__)

NOTICE_S = 1.0
"""Between taking a replica off the list and stopping it: the gateway looks at the list some times in it."""


class Counts(TypedDict):
    """How many replicas a service has."""

    desired: int
    ready: int
    starting: int
    """Not ready yet, or not ready again after they died."""


@dataclass(eq=False)
class _Replica:
    number: int
    processes: Sequence[Process]
    """Each ready before the next is started; the last is what the gateway calls."""
    was_ready: bool = False
    leave: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.processes[-1].port}"


class ReplicaSet:
    """See the module. Begins with none."""

    def __init__(self, service: str, slots: Sequence[Sequence[Process]], supervisor: Supervisor, target: Path) -> None:
        """``slots``: the processes of every replica that may be; ``target``: the file that lists those to call."""
        self._service, self._slots, self._supervisor, self._target = service, slots, supervisor, target
        self._replicas: dict[int, _Replica] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._desired = 0
        self._list()

    def scale(self, num_replicas: int) -> None:
        """Desires so many, or as many as may be; returns at once."""
        self._desired = min(num_replicas, len(self._slots))
        self._reconcile()

    def counts(self) -> Counts:
        """How many there are, those that leave aside."""
        staying = self._staying()
        ready = sum(replica.was_ready and self._is_up(replica) for replica in staying)
        return {"desired": self._desired, "ready": ready, "starting": len(staying) - ready}

    async def close(self) -> None:
        """Starts and stops nothing more; the processes are the supervisor's to stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _staying(self) -> list[_Replica]:
        return [replica for replica in self._replicas.values() if not replica.leave.is_set()]

    def _is_up(self, replica: _Replica) -> bool:
        states = self._supervisor.states
        return all(p.name in states and states[p.name].phase == "ready" for p in replica.processes)

    def _reconcile(self) -> None:
        staying = self._staying()
        free = [number for number in range(len(self._slots)) if number not in self._replicas]
        for number in free[: max(0, self._desired - len(staying))]:
            self._begin(_Replica(number, self._slots[number]))
        ready = [replica for replica in reversed(staying) if replica.was_ready]
        for replica in ready[: max(0, len(staying) - self._desired)]:
            replica.leave.set()
        self._list()

    def _begin(self, replica: _Replica) -> None:
        self._replicas[replica.number] = replica
        task = asyncio.create_task(self._live(replica), name=f"{self._service} {replica.number}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, replica: _Replica) -> None:
        try:
            if not await self._up(replica):
                log.error("given up: it does not start", service=self._service)
                return
            replica.was_ready = True
            self._reconcile()
            await self._serve(replica)
            await asyncio.sleep(NOTICE_S)
            await self._down(replica)
        finally:
            del self._replicas[replica.number]
        self._reconcile()

    async def _up(self, replica: _Replica) -> bool:
        budget = RestartBudget()
        while True:
            try:
                for process in replica.processes:
                    await self._supervisor.bring_up(process)
            except ClusterError as error:
                log.error("replica did not start", service=self._service, reason=str(error))
                await self._down(replica)
            else:
                return True
            if (delay_s := budget.delay_s(time.monotonic())) is None:
                return False
            await asyncio.sleep(delay_s)

    async def _serve(self, replica: _Replica) -> None:
        """Until it may go. One whose processes die too often stays listed: it is wanted, and it is down."""
        keeping = [asyncio.create_task(self._supervisor.keep(process)) for process in replica.processes]
        try:
            await replica.leave.wait()
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)

    async def _down(self, replica: _Replica) -> None:
        for process in reversed(replica.processes):
            await self._supervisor.bring_down(process, REPLICA_DRAIN_S)

    def _list(self) -> None:
        """Tells the gateway whom to call, replacing the file whole."""
        addresses = [replica.address for replica in self._staying() if replica.was_ready]
        scratch = self._target.with_suffix(".new")
        scratch.write_text("".join(f"{address}\n" for address in addresses))
        scratch.replace(self._target)
