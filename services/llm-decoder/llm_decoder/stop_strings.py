"""Ends a text before the first of its stop strings, without ever showing part of one.

Knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets text through up to a stop string; holds back what may still become one.

    The stop string that is complete first wins; of several that end at the same character, the one that began first.
    So the result does not depend on how the text is cut into pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """``stops`` are not empty strings."""
        self._stops = stops
        self._longest = max(map(len, stops), default=1)
        self._held = ""
        self.matched = False
        """Whether a stop string has appeared; nothing may be pushed after it."""

    def push(self, text: str) -> str:
        """The text that is now known not to belong to a stop string."""
        assert not self.matched, "text after a stop string"
        text = self._held + text
        ends = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        self.matched = bool(ends)
        cut = min(ends)[1] if ends else self._first_undecided(text)
        self._held = "" if ends else text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """What is still held when no more text comes."""
        held, self._held = self._held, ""
        return held

    def _first_undecided(self, text: str) -> int:
        """Where the longest end of ``text`` begins that a stop string begins with."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if any(stop.startswith(text[start:]) for stop in self._stops):
                return start
        return len(text)
