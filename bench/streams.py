"""What streams of tokens amount to: rates and waits, from the time of each token.

Pure. Times are seconds since all streams were asked for at once.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, Self

Times = Sequence[Sequence[float]]
"""When the tokens of each stream came."""


class Figures(NamedTuple):
    """One run of so many streams, or the medians of several runs."""

    tokens_per_s: float
    """All tokens over all the time, prompts included."""
    decode_tokens_per_s: float
    """While every stream decodes: after the last one's first token, before the first one's last; nan if never."""
    first_token_ms: float
    """Median over the streams."""
    gap_p50_ms: float
    """Between one token of a stream and its next."""
    gap_p99_ms: float

    @classmethod
    def of(cls, times: Times) -> Self:
        """The figures of one run."""
        waits_ms = [gap * 1e3 for gap in gaps(times)]
        return cls(
            tokens_per_s=sum(map(len, times)) / max(stream[-1] for stream in times),
            decode_tokens_per_s=_decode_rate(times),
            first_token_ms=statistics.median(stream[0] for stream in times) * 1e3,
            gap_p50_ms=percentile(waits_ms, 50),
            gap_p99_ms=percentile(waits_ms, 99),
        )

    @classmethod
    def medians(cls, runs: Iterable[Figures]) -> Self:
        """Each figure's median."""
        return cls(*map(statistics.median, zip(*runs, strict=True)))


def gaps(times: Times, after_s: float = 0.0) -> list[float]:
    """Seconds between neighbouring tokens of the same stream, of those that came later than ``after_s``."""
    return [late - early for stream in times for early, late in pairwise(stream) if early >= after_s]


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def all_started_s(times: Times) -> float:
    """When the last stream had its first token."""
    return max(stream[0] for stream in times)


def _decode_rate(times: Times) -> float:
    begin, end = all_started_s(times), min(stream[-1] for stream in times)
    num_tokens = sum(begin < time <= end for stream in times for time in stream)
    return num_tokens / (end - begin) if begin < end else math.nan
