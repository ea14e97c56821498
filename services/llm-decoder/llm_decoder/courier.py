"""A thread that delivers what the engine hands it, in order: a response's way into Triton is a round trip between two
processes, and the engine computes on meanwhile. Knows nothing of what is delivered.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

Errand = Callable[[], object]


class Courier:
    """Runs errands one after another. ``send`` may be called from any thread."""

    def __init__(self) -> None:
        self._errands: queue.SimpleQueue[Errand | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._thread.start()

    def send(self, errand: Errand) -> None:
        """Has an errand run after those before it."""
        self._errands.put(errand)

    def close(self) -> None:
        """Runs what was sent, and ends."""
        self._errands.put(None)
        self._thread.join()

    def _run(self) -> None:
        while errand := self._errands.get():
            try:
                errand()
            except Exception:  # one request's failure is no other's
                log.exception("a response was not delivered")
