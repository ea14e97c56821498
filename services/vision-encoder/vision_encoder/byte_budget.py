"""A number of bytes that threads share: each holds what its work needs, and waits while there is not enough."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class ByteBudget:
    """First come, first served, so that small work does not starve large work."""

    def __init__(self, num_bytes: int) -> None:
        self._total = self._free = num_bytes
        self._turn = threading.Lock()
        self._released = threading.Condition()

    @contextlib.contextmanager
    def hold(self, num_bytes: int) -> Iterator[None]:
        """Holds the bytes while entered. What is larger than the whole budget waits for all of it and runs alone."""
        num_bytes = min(num_bytes, self._total)
        with self._turn, self._released:
            self._released.wait_for(lambda: self._free >= num_bytes)
            self._free -= num_bytes
        try:
            yield
        finally:
            with self._released:
                self._free += num_bytes
                self._released.notify_all()
