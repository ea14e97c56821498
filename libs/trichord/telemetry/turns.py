"""Spans of work that waits for its turn in another thread. Knows no threads: it is told when the turn has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trichord.telemetry import spans


@contextmanager
def turn(name: str, attributes: spans.Attributes | None = None) -> Iterator[Callable[[], None]]:
    """Two spans around the block, ``<name> queue`` and ``<name>``; the first alone if the turn never came.

    Yields what is to be called, from any thread, when the work begins; if more waiting follows, it is called again.
    """
    asked_ns, begun_ns = time.time_ns(), list[int]()
    failure: str | BaseException = ""
    try:
        yield lambda: begun_ns.append(time.time_ns())
    except BaseException as error:
        failure = error
        raise
    finally:
        ended_ns = time.time_ns()
        if spans.is_recorded() and begun_ns:
            spans.record(f"{name} queue", asked_ns, begun_ns[-1], attributes)
            spans.record(name, begun_ns[-1], ended_ns, attributes, error=failure)
        elif spans.is_recorded():
            spans.record(f"{name} queue", asked_ns, ended_ns, attributes, error=failure)
