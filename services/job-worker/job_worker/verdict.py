"""What becomes of an item whose call failed: again soon, again later, or never.

Pure. An attempt counts against an item only if the item may be the reason: not what was refused for want of room or
quota, nor what the worker's own key was refused, nor what fails while everything fails (``outage.py``). Such items come
again until their deadline. Knows nothing of topics and of who calls.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import grpc

from trichord.errors import TrichordError

Step = Literal["retry_soon", "retry_later", "give_up"]

SOON_S, LATER_S = 5.0, 60.0
"""Seconds until an item comes again: a hiccup is over by then, or a restart."""
MAX_SOON = 2
"""Attempts after which an item is tried again later rather than soon."""

_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""The same request will fail the same way."""
_WORKERS_OWN = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
"""It is the worker's key that was refused, whatever it asked for: somebody has to set that right."""


class Verdict(NamedTuple):
    """What to do with an item."""

    step: Step
    attempts: int
    """Those that count against it, with the one that was judged."""
    hold_s: float = 0.0
    """Seconds that it keeps its slot first: who is full is asked more slowly."""


def judge(error: TrichordError, attempts: int, max_attempts: int, *, is_outage: bool) -> Verdict:
    """The verdict on an item that failed with ``error`` after ``attempts`` that counted, this one not among them."""
    if error.code in _FINAL:
        return Verdict("give_up", attempts + 1)
    if not _may_be_the_items(error, is_outage=is_outage):
        told_s = SOON_S if error.retry_after_s is None else error.retry_after_s
        return Verdict(_step(error, MAX_SOON), attempts, min(told_s, SOON_S))
    attempts += 1
    return Verdict("give_up" if attempts >= max_attempts else _step(error, attempts), attempts)


def _may_be_the_items(error: TrichordError, *, is_outage: bool) -> bool:
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_after_s is None  # else there will be room; without a time, a message may be too large
    return error.code not in _WORKERS_OWN and not (is_outage and error.code is grpc.StatusCode.UNAVAILABLE)


def _step(error: TrichordError, attempts: int) -> Step:
    if error.code in _WORKERS_OWN:
        return "retry_later"
    return "retry_soon" if attempts <= MAX_SOON and (error.retry_after_s or 0.0) <= SOON_S else "retry_later"
