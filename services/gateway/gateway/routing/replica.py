"""One replica of a service: its connection, what it has in progress, and what was learnt of it.

Knows nothing of its peers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc

from gateway.routing.outlier import Conduct
from gateway.routing.policy import Load
from gateway.routing.settings import RoutingSettings
from gateway.routing.verdict import Conclusion
from gateway.routing.watch import Health
from trichord.breaker import CircuitBreaker, State

Stub = TypeVar("Stub")

MAX_PUSHBACK_S = 30.0
"""A replica that asks for longer is tried again all the same."""

_TIERS: dict[Health, int] = {"serving": 0, "unknown": 1, "not_serving": 2, "unreachable": 2}


@dataclass(frozen=True)
class ReplicaSnapshot:
    """A replica as an operator sees it."""

    address: str
    health: Health
    is_leaving: bool
    """No longer of the service; ends the calls that it has."""
    num_calls: int
    """In progress."""
    cost: float
    """Of those calls together."""
    breaker: State
    ejected_for_s: float
    pushed_back_for_s: float


class Replica(Generic[Stub]):
    """A channel and a stub, with a breaker of their own."""

    def __init__(
        self,
        address: str,
        channel: grpc.aio.Channel,
        stub: Stub,
        settings: RoutingSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address, self.channel, self.stub = address, channel, stub
        self.health: Health = "unknown"
        self.is_leaving = False
        self.breaker = CircuitBreaker(settings.breaker_failures, settings.breaker_open_s, clock)
        self.conduct = Conduct(settings.ejection_s, clock)
        self.idle = asyncio.Event()
        """Set while it has no calls."""
        self.idle.set()
        self._clock = clock
        self._num_calls, self._cost = 0, 0.0
        self._pushed_back_until_s = clock()
        self._was_overloaded = False

    @property
    def load(self) -> Load:
        """What it has in progress."""
        return Load(self.address, self._num_calls, self._cost)

    @property
    def is_usable(self) -> bool:
        """Whether a call may go to it at all."""
        return self.breaker.admits and not self.pushed_back_for_s()

    @property
    def tier(self) -> int:
        """0 is best. What says that it cannot serve, or is worse than its peers, comes last, yet before nobody."""
        return _TIERS[self.health] + 2 * self.conduct.is_ejected

    @property
    def is_overloaded(self) -> bool:
        """Whether it wants no calls because it has too many, rather than for being away."""
        return self._was_overloaded and self.pushed_back_for_s() > 0

    def pushed_back_for_s(self) -> float:
        """Seconds for which it wants no calls."""
        return max(0.0, self._pushed_back_until_s - self._clock())

    def usable_in_s(self) -> float:
        """Seconds until it may be usable again."""
        return max(self.breaker.retry_after_s(), self.pushed_back_for_s())

    def heard(self, health: Health) -> None:
        """What its health check says now."""
        self.health = health

    def begin(self, cost: float) -> None:
        """A call goes to it; only while it is usable. Every call ends with ``learn`` and then ``end``."""
        assert self.breaker.admit(), "only usable replicas are chosen"
        self._num_calls, self._cost = self._num_calls + 1, self._cost + cost
        self.idle.clear()

    def end(self, cost: float) -> None:
        """The call is over."""
        self._num_calls -= 1
        self._cost = self._cost - cost if self._num_calls else 0.0  # sums of floats leave crumbs
        if not self._num_calls:
            self.idle.set()

    def learn(self, conclusion: Conclusion, pushback_s: float = 0.0) -> None:
        """Draws the conclusion of a call."""
        match conclusion:
            case "well":
                self.breaker.succeeded()
            case "failed":
                self.breaker.failed()
            case _:
                self.breaker.abandoned()
        if conclusion in ("well", "failed", "faulty"):
            self.conduct.answered(well=conclusion == "well")
        if pushback_s:
            self._pushed_back_until_s = self._clock() + min(pushback_s, MAX_PUSHBACK_S)
            self._was_overloaded = conclusion == "pushed_back"

    def snapshot(self) -> ReplicaSnapshot:
        """How it stands."""
        return ReplicaSnapshot(
            address=self.address,
            health=self.health,
            is_leaving=self.is_leaving,
            num_calls=self._num_calls,
            cost=self._cost,
            breaker=self.breaker.state,
            ejected_for_s=self.conduct.ejected_for_s(),
            pushed_back_for_s=self.pushed_back_for_s(),
        )
