"""The way to one Redis (or Valkey): bounded in time and connections, behind a circuit breaker, safe to cancel.

Whatever is wrong with the server (refused, hung, slow, restarting, lying about its protocol), a command ends within
``timeout_s``, and at once while the breaker is open. What that means (a cache misses, a quota is guessed) is the
caller's to decide. Knows nothing of keys and values.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Literal, TypeVar

import structlog
from opentelemetry.trace import SpanKind
from prometheus_client import Gauge, Histogram
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from trichord.breaker import CircuitBreaker
from trichord.errors import OverloadedError, SettingsError, TrichordError, UnavailableError
from trichord.telemetry import names, spans
from trichord.telemetry.exemplars import exemplar

log = structlog.get_logger(__name__)

T = TypeVar("T")

TIMEOUT_S = 0.05
"""Longest that a command may take, with waiting for a connection and making one."""
MAX_CONNECTIONS = 32
HEALTH_CHECK_INTERVAL_S = 15
"""A connection idle for so many seconds is tried before it is used."""
MAX_FAILURES = 5
"""Failed commands in a row that open the breaker."""
OPEN_S = 2.0
"""Seconds between two probes while the server is away."""

DURATION = Histogram(
    "trichord_redis_command_duration_seconds",
    "Seconds that commands took, by store and by what came of them: ok, away (no sensible answer in time) or full. "
    "Those that an open breaker kept from being sent are not among them.",
    ["store", "outcome"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
BREAKER_OPEN = Gauge(
    "trichord_redis_breaker_open", "1 while a store is taken to be away and not even tried; else 0.", ["store"]
)

Store = Literal["cache", "state", "media"]
"""What a link is for: what may be forgotten, what must not, or large values beside it with more time."""

Outcome = Literal["ok", "away", "full"]


class RedisAwayError(UnavailableError):
    """The server did not answer in time, or not with anything sensible; whether it did what was asked is unknown."""


class RedisLink:
    """A pool of connections to the server at ``url``; nothing is connected before the first command.

    ``url`` is ``redis://``, ``rediss://`` (TLS; ``?ssl_ca_certs=`` names the authority) or ``unix://``, with the name
    and password of an ACL user. Raises SettingsError for any other.
    """

    def __init__(
        self,
        url: str,
        *,
        store: Store = "state",
        timeout_s: float = TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """``store`` is what it is called in metrics."""
        self._store = store
        self._redis = Redis.from_pool(_pool(url, timeout_s, max_connections))
        self._timeout_s = timeout_s
        self._breaker = breaker or CircuitBreaker(MAX_FAILURES, OPEN_S)
        self._running: set[asyncio.Task[Any]] = set()
        # Read at each scrape: a gateway at rest sends no command that could tell of a store that is back.
        BREAKER_OPEN.labels(store).set_function(lambda: self._breaker.state == "open")

    async def run(self, command: Callable[[Redis], Awaitable[T]], name: str = "command") -> T:
        """What ``command`` makes of the server's answers: bytes, never text. ``name``, fixed words, is its span's.

        Raises RedisAwayError, and OverloadedError when the server is there but has no memory left. A caller that is
        cancelled leaves its command to end alone: no connection is given up between a command and its reply, so that
        no reply can reach the wrong caller (CVE-2023-28858, CVE-2023-28859). ``command`` must touch nothing else.
        """
        with _span(name):
            if not self._breaker.admit():
                raise _away(self._breaker.retry_after_s())
            task = asyncio.create_task(self._bounded(command), name="redis command")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            return await asyncio.shield(task)

    async def _bounded(self, command: Callable[[Redis], Awaitable[T]]) -> T:
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await command(self._redis)
        except OutOfMemoryError as error:
            self._breaker.succeeded()
            self._note("full", began_s)
            raise OverloadedError("The shared store is full. Try again later.", retry_after_s=5.0) from error
        except (asyncio.CancelledError, TrichordError):
            self._breaker.abandoned()
            raise
        except Exception as error:
            # Anything: a server that speaks nonsense makes the client library raise whatever parsing it raises.
            log.warning("redis is away", error=type(error).__name__)
            self._breaker.failed()
            self._note("away", began_s)
            raise _away(self._breaker.retry_after_s()) from error
        self._breaker.succeeded()
        self._note("ok", began_s)
        return result

    def _note(self, outcome: Outcome, began_s: float) -> None:
        DURATION.labels(self._store, outcome).observe(time.perf_counter() - began_s, exemplar())

    async def close(self) -> None:
        """Lets running commands end, and closes all connections."""
        await asyncio.gather(*self._running, return_exceptions=True)
        with suppress(RedisTimeoutError):  # closed they are; only the server's goodbye was not waited for
            await self._redis.aclose()


def _span(name: str) -> AbstractContextManager[object]:
    """Of one command, for a request: what nobody asked for, as an autoscaler's polling, is in no trace."""
    if not spans.is_recorded():
        return nullcontext()
    return spans.span(f"redis {name}", SpanKind.CLIENT, {names.DB_SYSTEM: "redis", names.DB_OPERATION: name})


def _pool(url: str, timeout_s: float, max_connections: int) -> BlockingConnectionPool:
    try:
        return BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=HEALTH_CHECK_INTERVAL_S,
            protocol=2,
            driver_info=None,
            # While these are on, a connection with a reply left over in it is used all the same.
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError as error:
        raise SettingsError("The store's URL is not one of redis://, rediss:// and unix://.") from error


def _away(retry_after_s: float) -> RedisAwayError:
    return RedisAwayError("The shared store does not answer. Try again.", retry_after_s=max(retry_after_s, 1.0))
