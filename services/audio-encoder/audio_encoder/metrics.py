"""What the audio front tells beside what every encoder's front does (trichord.media.metrics)."""

from __future__ import annotations

from prometheus_client import Counter

from trichord.media import metrics
from trichord.v1 import tensor_pb2

SECONDS = Counter("trichord_encoded_audio_seconds", "Seconds of sound that were encoded.")


def encoded(timings: tensor_pb2.EncodeTimings, windows: tensor_pb2.AudioWindows) -> None:
    """Counts a sound that was encoded."""
    metrics.encoded("audio", timings, len(windows.tokens))
    SECONDS.inc(windows.seconds)
