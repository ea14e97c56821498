"""What an encoder's front tells of the media that came to it, whatever they are. Knows neither images nor sounds.

Defined once for all encoders, whose metrics differ by the label ``modality`` alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from prometheus_client import Counter, Histogram

from trichord.errors import TrichordError
from trichord.telemetry.exemplars import exemplar
from trichord.telemetry.spans import error_type
from trichord.v1 import tensor_pb2

Modality = Literal["image", "audio"]

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

DECODE = Histogram(
    "trichord_media_decode_seconds",
    "Seconds that it took to decode and cut up a medium that was encoded, without the wait for a worker.",
    ["modality"],
    buckets=BUCKETS_S,
)
DECODE_QUEUE = Histogram(
    "trichord_media_decode_queue_seconds",
    "Seconds that a medium that was encoded had waited for a worker, and for memory, to be decoded in.",
    ["modality"],
    buckets=BUCKETS_S,
)
MODEL = Histogram(
    "trichord_model_seconds",
    "Seconds that Triton took over a medium, queue and round trip included; the windows of a live sound add up.",
    ["modality"],
    buckets=BUCKETS_S,
)
UNITS = Counter("trichord_encoded_units", "Tiles of images and windows of sounds that were encoded.", ["modality"])
REFUSED = Counter(
    "trichord_media_refused",
    "Media that were not encoded, by the reason of the error that their sender got.",
    ["modality", "error_type"],
)


def encoded(modality: Modality, timings: tensor_pb2.EncodeTimings, num_units: int) -> None:
    """Counts a medium of ``num_units`` tiles or windows that was encoded."""
    trace = exemplar()
    DECODE.labels(modality).observe(timings.decode_ms / 1e3, trace)
    DECODE_QUEUE.labels(modality).observe(timings.queue_ms / 1e3, trace)
    MODEL.labels(modality).observe(timings.model_ms / 1e3, trace)
    UNITS.labels(modality).inc(num_units)


@asynccontextmanager
async def counting_refusals(modality: Modality) -> AsyncIterator[None]:
    """Counts the error of ours that leaves the block, if one does: a caller who left was not refused."""
    try:
        yield
    except TrichordError as error:
        REFUSED.labels(modality, error_type(error)).inc()
        raise
