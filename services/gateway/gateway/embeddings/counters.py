"""What the embedding store did since the process started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class StoreCounters:
    """Callers by how each was served, and what went wrong on the way."""

    hits: int = 0
    """Callers served with a kept embedding."""
    misses: int = 0
    """Callers for whom the encoder was called."""
    shared: int = 0
    """Callers served by an encode that another caller had begun, here or in another process."""
    refused: int = 0
    """Callers whose medium was refused without asking the encoder again."""
    corrupt: int = 0
    """Records that did not verify, and were thrown away."""
    unkept: int = 0
    """Embeddings not kept: too large, of an unexpected encoder, or of a form that records do not have."""
    redis_failures: int = 0
    """Calls of Redis that failed, or were not made while its breaker was open."""
