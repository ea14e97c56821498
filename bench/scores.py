"""What other weights cost in quality: a fixed text's likelihood, and which tokens would have been chosen.

Pure. A score is a verb of the peers: for each token of a text, its log-probability after those before it, and the
likeliest token in its place.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Score(NamedTuple):
    """One model's view of the text."""

    logprobs: Sequence[float]
    greedy: Sequence[int]

    @property
    def perplexity(self) -> float:
        """The exponential of the mean negative log-probability of a token."""
        return math.exp(-statistics.fmean(self.logprobs))

    def agreement(self, other: Score) -> float:
        """Share of the places where both would choose the same token."""
        return statistics.fmean(a == b for a, b in zip(self.greedy, other.greedy, strict=True))
