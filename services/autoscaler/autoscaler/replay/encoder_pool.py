"""A simulated encoder: passes over batches of media, one pass at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from autoscaler.replay.clock import Clock
from autoscaler.replay.pool import Pool, Replica, Task

PassS = Callable[[float], float]
"""Seconds of a pass over so much work: tiles, or seconds of sound."""


class EncoderReplica(Replica):
    """Takes what waits when it is idle, up to ``max_batch`` media."""

    def __init__(self, pool: Pool, pass_s: PassS, max_batch: int) -> None:
        self._pool, self._pass_s, self._max_batch = pool, pass_s, max_batch

    def has_room(self) -> bool:
        """When it is idle."""
        return not self.num_running

    def take(self, queue: deque[Task]) -> list[Task]:
        """A batch."""
        batch = [queue.popleft() for _ in range(min(self._max_batch, len(queue)))]
        self.num_running = len(batch)
        work = sum(task.cost for task in batch)
        taken_s, clock = self._pass_s(work), self._pool.clock
        clock.at(clock.now_s + taken_s, lambda: self._passed(batch, work, taken_s))
        return batch

    def _passed(self, batch: list[Task], work: float, taken_s: float) -> None:
        self.num_running = 0
        usage = self._pool.usage
        usage.busy_s += taken_s
        usage.slot_s += taken_s
        usage.work += work
        for task in batch:
            self._pool.done(task)
        self._pool.has_room_again(self)


class EncoderPool(Pool):
    """Vision or audio encoders."""

    def __init__(self, clock: Clock, startup_s: float, max_waiting: int, pass_s: PassS, max_batch: int) -> None:
        super().__init__(clock, startup_s, max_waiting)
        self._pass_s, self._max_batch = pass_s, max_batch

    def new_replica(self) -> EncoderReplica:
        """An idle one."""
        return EncoderReplica(self, self._pass_s, self._max_batch)
