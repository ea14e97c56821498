"""What an item will probably cost its encoder, told from its size: the gateway looks inside no media.

Good enough to spread load, which needs orders of magnitude; never used to count or to charge.
"""

from __future__ import annotations

BYTES_PER_TILE = 50_000
"""A 448 x 448 tile of a photograph as JPEG at usual quality, about 2 bits a pixel."""

MAX_TILES = 10
"""Nine slices and the whole (arXiv 2502.15803, section 3.2): more bytes than that are only finer."""

BYTES_PER_AUDIO_SECOND = 16_000
"""128 kbit/s; half of 16-bit PCM at 16 kHz, twice of most speech codecs."""


def tiles(num_bytes: int) -> float:
    """Tiles of an image file of that size."""
    return min(1 + num_bytes / BYTES_PER_TILE, MAX_TILES)


def audio_seconds(num_bytes: int) -> float:
    """Seconds of a sound file of that size."""
    return 1 + num_bytes / BYTES_PER_AUDIO_SECOND
