"""What a request takes of its tenant's budgets. Knows nothing of how budgets are kept."""

from __future__ import annotations

from typing import NamedTuple

Amounts = tuple[int, int, int, int]
"""Of the budgets in their fixed order: requests, tokens, tiles, audio in milliseconds."""

QUOTAS = ("requests", "tokens", "tiles", "audio_seconds", "concurrency")
"""Names of the budgets for people and in QuotaError; the last one has slots instead of a rate."""


class Cost(NamedTuple):
    """The variable cost of one request; the request itself always costs one request and one slot."""

    tokens: int = 0
    """Of the prompt and of all its answers."""
    tiles: int = 0
    """Of the images to encode."""
    audio_ms: int = 0
    """Milliseconds of the sounds to encode."""

    def amounts(self) -> Amounts:
        """What to take before the request."""
        return (1, *self)

    def credit(self, actual: Cost) -> Amounts:
        """What to give back after the request took ``actual``, negative where it took more; it stays counted itself."""
        return (0, self.tokens - actual.tokens, self.tiles - actual.tiles, self.audio_ms - actual.audio_ms)
