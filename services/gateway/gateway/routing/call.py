"""One call to a service, on as many replicas as it takes: retries until the answer begins, never after.

An attempt that another replica could take over is not given all the time that is left, but half of it and at most
``attempt_timeout_s``, to begin to answer: a replica that accepts and stays silent would otherwise use up the deadline.
Only a silence of the whole ``attempt_timeout_s`` counts against the replica, or callers with short deadlines would shut
it for everyone. The last attempt, and any that nobody could take over, has all the time there is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, Generic, NamedTuple, TypeVar

import grpc
from opentelemetry.trace import Span, SpanKind
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_fixed,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from gateway.metrics.routing import RETRIES
from gateway.routing.policy import Choose
from gateway.routing.pool import Lease, ReplicaPool
from gateway.routing.replica import Stub
from gateway.routing.verdict import is_retryable
from trichord.errors import DeadlineError
from trichord.retry_budget import RetryBudget
from trichord.telemetry import names, request_line, spans
from trichord.telemetry.spans import Metadata

Answer = TypeVar("Answer")

RECONNECT_S = 0.3
"""A channel that lost its server connects again no sooner (``trichord.server.open_channel``, and 20 % of jitter)."""

ELSEWHERE = wait_random_exponential(multiplier=0.025, max=0.25)
"""Before another replica is tried: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/."""

AGAIN = wait_fixed(RECONNECT_S) + wait_random_exponential(multiplier=RECONNECT_S, max=1)
"""Before a replica is tried that has failed the call already, because there is no other."""

MIN_SHARE_S = 1.0
"""Half a deadline shorter than this is no time to answer in: the first attempt has it all."""

END_S = 0.5
"""A replica that has sent its last message ends its call at once; one that hangs there is not waited for longer."""

Send = Callable[[Stub, float, Metadata], Answer]
"""Sends the request over a stub, with seconds that the RPC may last, and metadata that name its span."""

StreamCall = grpc.aio.UnaryStreamCall[Any, Answer]


class _Opened(NamedTuple, Generic[Answer]):
    """A stream whose answer has begun; ``resources`` are let go when it ends."""

    early: list[Answer]
    rest: AsyncIterator[Answer]
    span: Span
    resources: AbstractContextManager[object]


class Call(Generic[Stub]):
    """A request on its way. Make one for each; raises as ``ReplicaPool.lease`` does."""

    def __init__(
        self, pool: ReplicaPool[Stub], method: str, choose: Choose, timeout_s: float, cost: float = 1.0
    ) -> None:
        """``method`` is ``package.Service/Method``: each attempt is a span of that name."""
        self._pool, self._method, self._choose, self._cost = pool, method, choose, cost
        self._ends_s = time.monotonic() + timeout_s
        self._tried: set[str] = set()
        self._num_attempts = 0

    async def unary(self, send: Send[Stub, Awaitable[Answer]]) -> Answer:
        """The one answer."""
        await self._begin()
        return await self._retrying()(self._attempt, send)

    async def stream(
        self,
        send: Send[Stub, StreamCall[Answer]],
        is_answer: Callable[[Answer], bool],
        is_last: Callable[[Answer], bool],
    ) -> AsyncGenerator[Answer, None]:
        """The answer's messages; closing the iterator cancels the call.

        Messages before the first that ``is_answer`` are held back until it is there: another replica sends its own.
        The one that ``is_last`` is held back until the replica has ended the call, so that who has it may leave at
        once and the replica does not count an answer as cancelled.
        """
        await self._begin()
        opened: _Opened[Answer] = await self._retrying()(self._open, send, is_answer)

        async def passed(message: Answer) -> Answer:
            if is_last(message):
                spans.succeeded(opened.span)
                await _end_of(opened.rest)
            return message

        with opened.resources:
            for message in opened.early:
                yield await passed(message)
            async for message in opened.rest:
                yield await passed(message)

    async def _begin(self) -> None:
        self._pool.budget.called()
        try:
            async with asyncio.timeout(self._left_s()):
                await self._pool.known()
        except TimeoutError as error:
            raise DeadlineError("The deadline passed before a replica was found. Allow a longer one.") from error

    async def _attempt(self, send: Send[Stub, Awaitable[Answer]]) -> Answer:
        with self._lease() as (lease, span):
            async with asyncio.timeout(lease.patience_s):
                return await send(lease.stub, self._left_s(), (*spans.outbound(span), *request_line.outbound()))

    async def _open(self, send: Send[Stub, StreamCall[Answer]], is_answer: Callable[[Answer], bool]) -> _Opened[Answer]:
        with ExitStack() as resources:
            lease, span = resources.enter_context(self._lease())
            call = send(lease.stub, self._left_s(), (*spans.outbound(span), *request_line.outbound()))
            resources.callback(call.cancel)
            messages, early = aiter(call), []
            async with asyncio.timeout(lease.patience_s) as patience:
                async for message in messages:
                    patience.reschedule(None)  # it is alive; how long the answer takes is its own matter
                    early.append(message)
                    if is_answer(message):
                        lease.answered()
                        span.add_event(names.FIRST_TOKEN)
                        break
            return _Opened(early, messages, span, resources.pop_all())

    @contextmanager
    def _lease(self) -> Iterator[tuple[Lease[Stub], Span]]:
        """A replica for one attempt, and the attempt's span; one that nobody took names no server."""
        self._num_attempts += 1
        told: spans.Attributes = {
            names.RPC_SYSTEM: "grpc",
            names.RPC_METHOD: self._method,
            names.ATTEMPT: self._num_attempts,
        }
        with (
            spans.detached(self._method, SpanKind.CLIENT, told) as span,
            self._pool.lease(self._choose, self._cost, self._tried, self._patience_s()) as lease,
        ):
            host, _, port = lease.address.rpartition(":")
            span.set_attributes(
                {names.REPLICA: lease.address, names.SERVER_ADDRESS: host, names.SERVER_PORT: int(port)}
            )
            yield lease, span

    def _patience_s(self) -> float | None:
        settings, share_s = self._pool.settings, self._left_s() / 2
        is_last = self._num_attempts >= settings.max_attempts or not self._pool.budget.has_retry
        if is_last or self._pool.num_usable(self._tried) < 2 or share_s < min(MIN_SHARE_S, settings.attempt_timeout_s):
            return None
        return min(share_s, settings.attempt_timeout_s)

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            sleep=asyncio.sleep,
            retry=retry_if_exception(lambda error: is_retryable(error) and self._pool.num_usable() > 0),
            wait=lambda state: (ELSEWHERE if self._pool.num_usable(self._tried) else AGAIN)(state),
            # The budget last: what stops for another reason spends nothing.
            stop=stop_after_attempt(self._pool.settings.max_attempts)
            | stop_before_delay(self._left_s())
            | _stop_when_spent(self._pool.budget, self._pool.service),
            reraise=True,
        )

    def _left_s(self) -> float:
        return max(self._ends_s - time.monotonic(), 0.001)


async def _end_of(messages: AsyncIterator[object]) -> None:
    """Waits a little for a stream to end by itself; how it ends changes nothing any more."""
    with suppress(StopAsyncIteration, TimeoutError, grpc.RpcError):
        async with asyncio.timeout(END_S):
            await anext(messages)


class _stop_when_spent(stop_base):  # noqa: N801  # as tenacity names its own
    """Stops where the service's retry budget has none left; takes one from it otherwise."""

    def __init__(self, budget: RetryBudget, service: str) -> None:
        self._budget, self._service = budget, service

    def __call__(self, retry_state: RetryCallState) -> bool:
        has_retry = self._budget.spend()
        RETRIES.labels(self._service, "retried" if has_retry else "budget_spent").inc()
        return not has_retry
