"""What a file will probably cost its encoder, told from its size: the gateway looks inside no media.

Good enough to spread load and to reserve budgets; what is charged in the end is counted.
"""

from __future__ import annotations

BYTES_PER_TILE = 64 * 1024
"""A 448 x 448 tile of a photograph as JPEG."""
MAX_TILES = 10
"""Nine slices and the whole (arXiv 2502.15803, section 3.2): more bytes than that are only finer."""
BYTES_PER_AUDIO_S = 16_000
"""128 kbit/s: between speech codecs and 16-bit PCM at 16 kHz."""


def tiles(num_bytes: int) -> int:
    """Tiles of an image file; of none yet, which is to be fetched and may be any size, the most."""
    return min(MAX_TILES, 1 + num_bytes // BYTES_PER_TILE) if num_bytes else MAX_TILES


def audio_ms(num_bytes: int) -> int:
    """Milliseconds of a sound file."""
    return num_bytes * 1000 // BYTES_PER_AUDIO_S + 1
