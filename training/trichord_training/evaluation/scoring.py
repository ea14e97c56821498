"""How right answers are: what counts as the same, metrics, and how sure a share of so many samples is.

Pure. Knows no set and no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trichord_training.word_errors import word_errors

Z_95 = 1.959963984540054
"""The normal distribution's 97.5th percentile."""


def normalised(text: str) -> str:
    """A text's words in lower case, one space apart, without punctuation."""
    return " ".join(re.sub(r"[^\w\s]|_", " ", text.casefold()).split())


@dataclass(frozen=True)
class Score:
    """A share of units, words or answers, and its 95 % interval."""

    value: float
    low: float
    high: float
    count: int
    of: int


@dataclass(frozen=True)
class Metric:
    """What is counted in an answer."""

    name: str
    count: Callable[[str, str], tuple[int, int]]
    """Of an expected and a given answer, both normalised: units that count, of how many."""
    is_error: bool = False
    """Whether less is better."""

    def score(self, pairs: Iterable[tuple[str, str]]) -> Score:
        """The score of (expected, given) answers, at least one."""
        counts = [self.count(normalised(expected), normalised(given)) for expected, given in pairs]
        count, of = (sum(column) for column in zip(*counts, strict=True))
        return Score(count / of, *wilson(min(count, of), of), count, of)

    def meets(self, value: float, bar: float) -> bool:
        """Whether a value is as good as ``bar``."""
        return value <= bar if self.is_error else value >= bar


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, J. Am. Stat. Assoc. 22, 1927), as if the units were independent."""
    share, z2 = count / of, Z_95**2
    middle = share + z2 / (2 * of)
    half = Z_95 * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    low, high = ((middle + sign * half) / (1 + z2 / of) for sign in (-1, 1))
    return (low if count else 0.0), (high if count < of else 1.0)  # exact ends, which rounding would miss


def _exact(expected: str, given: str) -> tuple[int, int]:
    return int(expected == given), 1


def _wrong_words(expected: str, given: str) -> tuple[int, int]:
    return word_errors(expected, given), len(expected.split())


def _right_words(expected: str, given: str) -> tuple[int, int]:
    errors, words = _wrong_words(expected, given)
    return max(0, words - errors), words


EXACT = Metric("exact", _exact)
WORD_ERROR_RATE = Metric("word errors", _wrong_words, is_error=True)
DIGITS_RIGHT = Metric("digits right", _right_words)
"""Of what was said, less what was missed, changed or made up; an answer's share is never below 0."""
