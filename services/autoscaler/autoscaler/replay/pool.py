"""The replicas of one modality and the queue before them: what they have in common whatever they compute.

A replica is paid for from the decision to start it until it has finished its work, loading and draining included.
Knows no latency and no scaler.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from autoscaler.replay.clock import Clock
from autoscaler.replay.meter import WAITS_WINDOW_S, WINDOW_S, Usage, Window


@dataclass(slots=True)
class Task:
    """A piece of work for one modality: a medium, or a sequence."""

    cost: float
    """In the modality's unit; what is known beforehand."""
    on_done: Callable[[], None]
    positions: int = 0
    """Of a sequence: its prompt with its media."""
    output_tokens: int = 0
    on_first_token: Callable[[], None] = lambda: None
    queued_s: float = 0.0


class Replica(ABC):
    """One pod with one GPU."""

    is_ready = False
    is_draining = False
    num_running = 0
    """Tasks in progress."""

    @abstractmethod
    def has_room(self) -> bool:
        """Whether it would take a task now."""

    @abstractmethod
    def take(self, queue: deque[Task]) -> list[Task]:
        """Takes from the head of the queue what goes together, and starts on it."""


class Pool(ABC):
    """Replicas that come and go, and one queue for all of them: the head goes to the replica with the least to do."""

    def __init__(self, clock: Clock, startup_s: float, max_waiting: int) -> None:
        self.clock, self.usage = clock, Usage()
        self.queue: deque[Task] = deque()
        self.queued_cost = self.running_cost = 0.0
        self.arrivals, self.waits = Window(WINDOW_S), Window(WAITS_WINDOW_S)
        self.replicas: list[Replica] = []
        """Those that serve or load; not those that drain."""
        self.num_ready = self.num_draining = self.num_cold_starts = 0
        self.timeline: list[tuple[float, int]] = []
        """How many were paid for from when on."""
        self.on_held: Callable[[], None] = lambda: None
        """Called when a task comes and there is no replica at all."""
        self._startup_s, self._max_waiting, self._num_running = startup_s, max_waiting, 0

    @abstractmethod
    def new_replica(self) -> Replica:
        """One that is not ready yet."""

    def submit(self, task: Task) -> bool:
        """Queues a task; False if too many wait."""
        if len(self.queue) >= self._max_waiting:
            return False
        task.queued_s = self.clock.now_s
        self.queue.append(task)
        self.queued_cost += task.cost
        self.arrivals.add(self.clock.now_s, task.cost)
        self.dispatch()
        if not self.replicas:
            self.on_held()
        return True

    def dispatch(self) -> None:
        """Gives waiting tasks to replicas that have room."""
        while self.queue:
            replica = self._least_loaded()
            if replica is None:
                return
            for task in replica.take(self.queue):
                self.waits.add(self.clock.now_s, self.clock.now_s - task.queued_s)
                self.queued_cost -= task.cost
                self.running_cost += task.cost
                self._num_running += 1
        self.queued_cost = 0.0  # without what rounding left, which would be work for ever

    def done(self, task: Task) -> None:
        """Called by a replica when a task of it is."""
        self._num_running -= 1
        self.running_cost = self.running_cost - task.cost if self._num_running else 0.0
        task.on_done()

    def has_room_again(self, replica: Replica) -> None:
        """Called by a replica that finished something."""
        if not replica.is_draining:
            self.dispatch()
        elif not replica.num_running:
            self.num_draining -= 1
            self._note()

    def warm_up(self, count: int) -> None:
        """Replicas that are ready from the beginning."""
        for _ in range(count):
            self._add(is_ready=True)
        self._note()

    def scale_to(self, count: int) -> None:
        """Starts replicas, or lets some go: those that load first, then those with the least to do."""
        for _ in range(count - len(self.replicas)):
            replica = self._add(is_ready=False)
            self.num_cold_starts += 1
            self.clock.at(self.clock.now_s + self._startup_s, partial(self._ready, replica))
        for _ in range(len(self.replicas) - count):
            self._release(min(reversed(self.replicas), key=lambda replica: (replica.is_ready, replica.num_running)))
        self._note()

    def gpu_s(self, until_s: float) -> float:
        """GPU-seconds paid for, from the beginning."""
        ends = [time_s for time_s, _ in self.timeline[1:]] + [until_s]
        return sum(
            count * max(0.0, min(end, until_s) - start) for (start, count), end in zip(self.timeline, ends, strict=True)
        )

    def _add(self, is_ready: bool) -> Replica:
        replica = self.new_replica()
        replica.is_ready = is_ready
        self.num_ready += is_ready
        self.replicas.append(replica)
        return replica

    def _least_loaded(self) -> Replica | None:
        """Of those that would take a task; a plain loop, for it runs more often than anything else."""
        best = None
        for replica in self.replicas:
            if replica.is_ready and (best is None or replica.num_running < best.num_running) and replica.has_room():
                best = replica
                if not best.num_running:
                    break
        return best

    def _ready(self, replica: Replica) -> None:
        if replica in self.replicas:
            replica.is_ready = True
            self.num_ready += 1
            self.dispatch()

    def _release(self, replica: Replica) -> None:
        self.replicas.remove(replica)
        self.num_ready -= replica.is_ready
        replica.is_draining = True
        self.num_draining += bool(replica.num_running)

    def _note(self) -> None:
        count = len(self.replicas) + self.num_draining
        if not self.timeline or self.timeline[-1][1] != count:
            self.timeline.append((self.clock.now_s, count))
