"""Which failed calls are tried again, when, and how often. Knows statuses and trailers; knows no method.

One layer of retries, for both clients and for streams as for single answers: gRPC's own policy would jitter by a fifth
only, keep whole uploads in a buffer of its own, and retry RESOURCE_EXHAUSTED that nobody asked to be retried. Its
transparent retries of calls that no server saw stay on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay, wait_random_exponential
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from trichord import pushback
from trichord.client.connection import told
from trichord.retry_budget import RetryBudget

_DETAILS = "grpc-status-details-bin"
_BUDGET_PER_CALL, _BUDGET_PER_S, _MAX_BUDGET = 0.1, 0.5, 20.0


@dataclass(frozen=True)
class RetryPolicy:
    """How often a client tries, and how long it waits. A server's word comes first: no sooner, or not at all."""

    max_attempts: int = 4
    """Of one call, the first included; 1 turns retries off."""
    jitter_s: float = 0.2
    """Drawn from 0 to this, evenly, and added to what the server told; doubles with each retry of a call."""
    max_delay_s: float = 10.0
    """Longest wait that is worth it: what is told to wait longer fails at once."""


DEFAULT_POLICY = RetryPolicy()


class Retries:
    """One client's retries: a policy, and a budget of one retry for ten calls beside a few saved up."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._budget = RetryBudget(_BUDGET_PER_CALL, _BUDGET_PER_S, _MAX_BUDGET)

    def of_call(self, timeout_s: float, *, may_repeat: bool) -> dict[str, Any]:
        """Arguments of ``tenacity.Retrying``, or its asynchronous twin, for one call of at most ``timeout_s``.

        ``may_repeat``: whether doing it twice is no worse than once; otherwise only what the server says that it
        refused is tried again.
        """
        self._budget.called()
        policy = self._policy

        def is_worth_it(error: BaseException) -> bool:
            delay_s = least_delay_s(error, may_repeat=may_repeat)
            return delay_s is not None and delay_s <= policy.max_delay_s

        jitter = wait_random_exponential(multiplier=policy.jitter_s, max=policy.max_delay_s)
        bounds = stop_after_attempt(policy.max_attempts) | stop_before_delay(timeout_s)
        return {
            "retry": retry_if_exception(is_worth_it),
            "wait": _AsTold() + jitter,
            "stop": bounds | _WhenSpent(self._budget),
            "reraise": True,
        }


def least_delay_s(error: BaseException | None, *, may_repeat: bool) -> float | None:
    """Seconds to wait at least before a failed call is tried again; None if it must not be."""
    if not isinstance(error, grpc.RpcError):
        return None
    call: Any = error  # the error of a failed call is the call as well
    trailers = list(call.trailing_metadata() or ())
    if (told_s := pushback.read_s(trailers)) is not None:
        return told_s if told_s >= 0 else None
    if not may_repeat or call.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return None
    if any(key == _DETAILS for key, _ in trailers):
        return told(error).retry_after_s
    return 0.0 if call.code() is grpc.StatusCode.UNAVAILABLE else None


def remaining_s(timeout_s: float) -> Callable[[], float]:
    """A clock of what is left of ``timeout_s``, counted from now; never negative."""
    expires_s = time.monotonic() + timeout_s
    return lambda: max(0.0, expires_s - time.monotonic())


class _AsTold(wait_base):
    """Waits as long as the server told."""

    def __call__(self, retry_state: RetryCallState) -> float:
        assert retry_state.outcome is not None, "there is one when a wait is asked for"
        return least_delay_s(retry_state.outcome.exception(), may_repeat=True) or 0.0


class _WhenSpent(stop_base):
    """Stops when the budget is spent; asked last, so that nothing is spent in vain."""

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget

    def __call__(self, retry_state: RetryCallState) -> bool:
        return not self._budget.spend()
