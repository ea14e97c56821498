"""What every decoder offers: a sound's format, the length it claims, and its samples chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from audio_encoder.pcm import Samples

CHUNK_FRAMES = 16_384
"""Frames decoded at a time: 512 KiB with eight channels."""


@dataclass(frozen=True, slots=True)
class Source:
    """An open sound file. Nothing in it is trusted."""

    sample_rate: int
    """Samples per second and channel."""
    channels: int
    claimed_frames: int
    """Frames that the header claims; 0 if it does not say."""
    chunks: Iterator[Samples]
    """The samples, each chunk [n, channels], decoded as they are taken."""
