"""What a server tells retrying clients in a failed call's trailers: wait so long, or do not come again (gRFC A6).

gRPC's own retry policies obey it, in every language; RetryInfo in the details says the same to people and other code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import grpc

from trichord.errors import TrichordError

KEY = "grpc-retry-pushback-ms"
NEVER = "-1"

_RETRYABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""Codes that clients' policies retry unless they are told not to."""


def trailers(error: TrichordError) -> tuple[tuple[str, str], ...]:
    """The trailing metadata that an error is sent with; none where no policy would retry anyway."""
    if error.retry_after_s is not None:
        return ((KEY, str(math.ceil(error.retry_after_s * 1000))),)
    return ((KEY, NEVER),) if error.code in _RETRYABLE else ()


def read_s(metadata: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Seconds to wait; negative: do not retry, as is what cannot be read (gRFC A6); None if nothing is told."""
    told = next((value for key, value in metadata if key == KEY), None)
    if told is None:
        return None
    text = told.decode("ascii", "replace") if isinstance(told, bytes) else told
    return int(text) / 1000 if text.isascii() and text.isdigit() and len(text) <= 10 else -1.0
