"""Waits for the store and the queue: an item is never given up, nor done twice, because one of them is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from trichord.errors import UnavailableError

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

FIRST_WAIT_S, MAX_WAIT_S = 0.5, 10.0


async def patiently(attempt: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``attempt`` returns or raises, once that is no UnavailableError."""
    waiting = AsyncRetrying(
        retry=retry_if_exception_type(UnavailableError),
        wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=MAX_WAIT_S),
        before_sleep=_tell,
    )
    result: T = await waiting(attempt, *args, **kwargs)
    return result


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("waiting", attempt=state.attempt_number, reason=str(error))
