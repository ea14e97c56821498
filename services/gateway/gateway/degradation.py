"""What becomes of a medium whose encoder cannot take it now: fail, wait, or answer without it.

Knows nothing of encoders. A medium that is itself wrong fails whatever was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay, wait_random_exponential

from gateway.conversation import Item
from gateway.deadline import Deadline
from gateway.encoding import Encoded
from gateway.metrics import media
from trichord.errors import OverloadedError, QuotaError, UnavailableError
from trichord.v1 import gateway_pb2, tensor_pb2

NOTES: Mapping[tensor_pb2.Modality, str] = {
    tensor_pb2.MODALITY_IMAGE: "[An image belongs here; it could not be looked at.]",
    tensor_pb2.MODALITY_AUDIO: "[A sound belongs here; it could not be listened to.]",
}
"""What the model reads in a medium's place."""

_JITTER = wait_random_exponential(multiplier=0.1, max=5.0)


class Skipped(NamedTuple):
    """A medium that the answer does without."""

    item: Item
    reason: str


async def encoded_or_skipped(
    item: Item, encode: Callable[[], Awaitable[Encoded]], degradation: gateway_pb2.Degradation, deadline: Deadline
) -> Encoded | Skipped:
    """What comes of ``encode`` under a request's ``degradation``. Raises what it raises, where that is not covered."""
    match degradation:
        case gateway_pb2.DEGRADATION_WAIT:
            return await _patiently(deadline)(encode)
        case gateway_pb2.DEGRADATION_ANSWER_WITHOUT:
            try:
                return await encode()
            except (UnavailableError, OverloadedError) as error:
                if isinstance(error, QuotaError):
                    raise
                media.skipped(item.modality, error)
                return Skipped(item, error.message)
    return await encode()


def _patiently(deadline: Deadline) -> AsyncRetrying:
    return AsyncRetrying(
        sleep=asyncio.sleep,
        retry=retry_if_exception(_is_passing),
        wait=lambda state: max(_told_s(state), _JITTER(state)),
        stop=stop_before_delay(deadline.hop_s()),
        reraise=True,
    )


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, UnavailableError | OverloadedError) and not isinstance(error, QuotaError)


def _told_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return getattr(error, "retry_after_s", None) or 0.0
