"""A thread that delivers what the engine hands it, in order: a response's way into Triton is a round trip between two
processes, and the engine computes on meanwhile. Knows nothing of what is delivered.

Python runs one thread at a time, and an engine that has just handed something over prepares its next step: while much
is delivered, the thread lets it do so first.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

LINGER_S, SILENCE_S = 0.001, 0.1
"""How long errands wait for others, and for the engine's next step to begin; not after a silence of so long."""

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
        while errand := self._next():
            try:
                errand()
            except Exception:  # one request's failure is no other's
                log.exception("a response was not delivered")

    def _next(self) -> Errand | None:
        """The next errand, at once if it has waited already or comes after a silence."""
        if not self._errands.empty():
            return self._errands.get()
        began_s = time.monotonic()
        errand = self._errands.get()
        if time.monotonic() - began_s < SILENCE_S:
            time.sleep(LINGER_S)
        return errand
