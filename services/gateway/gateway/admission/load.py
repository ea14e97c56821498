"""What a lane has to do and does, as rates: what replicas are scaled by. Pure but for the clock passed in.

All of it is measured over the last seconds. Bounded: arrivals are summed by the second, service by sums that decay.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

ARRIVAL_WINDOW_S = 10
"""Seconds that the rate of arrivals is a mean over: a burst shows at once, and is forgotten to the last bit after it:
what nobody wants any more must look like it."""
SERVICE_WINDOW_S = 60.0
"""Time constant of the rate of service, which is a property of model and device, and changes slowly."""
WAIT_WINDOW_S = 10.0
MAX_WAITS = 1024
"""Waits that are remembered for the percentile."""


class Decaying:
    """A sum whose terms are forgotten with a time constant of ``window_s`` seconds."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._sum, self._at_s = 0.0, 0.0

    def add(self, amount: float, now_s: float) -> None:
        """Adds a term."""
        self._sum, self._at_s = self.sum(now_s) + amount, now_s

    def sum(self, now_s: float) -> float:
        """The sum as of now."""
        return self._sum * math.exp((self._at_s - now_s) / self._window_s)


class Sliding:
    """A sum whose terms are forgotten after ``window_s`` seconds, to the second."""

    def __init__(self, window_s: int) -> None:
        self._window_s = window_s
        self._by_second: deque[tuple[int, float]] = deque()  # oldest first, at most one each

    def add(self, amount: float, now_s: float) -> None:
        """Adds a term."""
        second = int(now_s)
        if self._by_second and self._by_second[-1][0] == second:
            amount += self._by_second.pop()[1]
        self._by_second.append((second, amount))
        self._forget(second)

    def sum(self, now_s: float) -> float:
        """The sum as of now."""
        self._forget(int(now_s))
        return sum(amount for _, amount in self._by_second)

    def _forget(self, second: int) -> None:
        while self._by_second and self._by_second[0][0] <= second - self._window_s:
            self._by_second.popleft()


class Load:
    """One lane's. Costs are in the lane's unit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.num_replicas = 1
        """That the lane's work goes to, as far as is known: told by whoever knows."""
        self.queued_cost = self.running_cost = 0
        self._num_running = 0
        self._arrived = Sliding(ARRIVAL_WINDOW_S)
        self._finished, self._busy_s = Decaying(SERVICE_WINDOW_S), Decaying(SERVICE_WINDOW_S)
        self._is_measured = False
        self._counted_s = clock()
        self._waits: deque[tuple[float, float]] = deque(maxlen=MAX_WAITS)

    def joined(self, cost: int) -> None:
        """Work came."""
        self.queued_cost += cost
        self._arrived.add(cost, self._clock())

    def left(self, cost: int) -> None:
        """Work that waited will not be done."""
        self.queued_cost -= cost

    def started(self, cost: int, waited_s: float) -> None:
        """Work that waited is being done."""
        self._count_busy()
        self.queued_cost -= cost
        self.running_cost += cost
        self._num_running += 1
        self._waits.append((self._clock(), waited_s))

    def finished(self, cost: int) -> None:
        """Work is done."""
        self._count_busy()
        self.running_cost -= cost
        self._num_running -= 1
        self._finished.add(cost, self._clock())
        self._is_measured = True

    @property
    def arrived_cost_per_s(self) -> float:
        """Work that came, a second."""
        return self._arrived.sum(self._clock()) / ARRIVAL_WINDOW_S

    @property
    def served_cost_per_s_per_replica(self) -> float | None:
        """What a replica does in a second while it has any work; None while nothing was finished."""
        self._count_busy()
        now_s = self._clock()
        busy_s = self._busy_s.sum(now_s)
        return self._finished.sum(now_s) / busy_s if self._is_measured and busy_s > 0 else None

    @property
    def wait_p95_ms(self) -> float:
        """95th percentile of the milliseconds that work waited which was started lately."""
        since_s = self._clock() - WAIT_WINDOW_S
        waits_s = sorted(waited_s for started_s, waited_s in self._waits if started_s >= since_s)
        return waits_s[math.ceil(0.95 * len(waits_s)) - 1] * 1e3 if waits_s else 0.0

    def _count_busy(self) -> None:
        """Replicas are busy as far as there are calls for them: each goes to the one with the least to do."""
        now_s = self._clock()
        self._busy_s.add((now_s - self._counted_s) * min(self._num_running, self.num_replicas), now_s)
        self._counted_s = now_s
