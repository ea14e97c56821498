"""One deadline for all hops of a request. gRPC in Python does not pass deadlines on; this does."""

from __future__ import annotations

import time

from trichord.errors import DeadlineError


class Deadline:
    """A point in time, ``timeout_s`` seconds from now."""

    def __init__(self, timeout_s: float, margin_s: float) -> None:
        self._at = time.monotonic() + timeout_s
        self._margin_s = margin_s

    def left_s(self) -> float:
        """Seconds until it passes, at least 0: for what waits on hops, so that a hop's own error comes first."""
        return max(0.0, self._at - time.monotonic())

    def hop_s(self) -> float:
        """Seconds that the next hop may take. Raises DeadlineError if none are left."""
        left = self._at - time.monotonic() - self._margin_s
        if left <= 0:
            raise DeadlineError("The request's deadline passed. Allow a longer one.")
        return left
