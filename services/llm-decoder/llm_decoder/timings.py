"""Where a sequence's time went: one definition for the engine, which tells it, and the front, which reads it."""

from __future__ import annotations

from typing import NamedTuple


class Timings(NamedTuple):
    """Milliseconds, ``first_token_ms`` from the arrival at the engine; and what the sequence met on the way.

    On the wire it is TIMINGS, float32, in this order.
    """

    queue_ms: float
    prefill_ms: float
    first_token_ms: float
    decode_ms: float
    num_cached_tokens: float
    num_preemptions: float
