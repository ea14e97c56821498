"""Word error rate. Knows nothing of sounds."""

from __future__ import annotations

from collections.abc import Iterable


def word_errors(said: str, written: str) -> int:
    """Least insertions, deletions and substitutions of words that make ``written`` from ``said``."""
    expected, found = said.split(), written.split()
    costs = list(range(len(found) + 1))
    for row, word in enumerate(expected, start=1):
        above, costs = costs, [row]
        for column, other in enumerate(found, start=1):
            costs.append(min(above[column - 1] + (word != other), above[column] + 1, costs[column - 1] + 1))
    return costs[-1]


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Errors a word that was said, over (said, written) pairs; 0.0 of none."""
    errors = words = 0
    for said, written in pairs:
        errors += word_errors(said, written)
        words += len(said.split())
    return errors / words if words else 0.0
