"""What a failed call says of the replica that failed it.

| what came back                        | the replica            | another try                     |
|---------------------------------------|------------------------|---------------------------------|
| the request's own fault               | well                   | never                           |
| UNAVAILABLE, CANCELLED by the peer    | failed                 | yes                             |
| RESOURCE_EXHAUSTED with RetryInfo     | pushes back until then | yes, elsewhere                  |
| INTERNAL and the like                 | worse than its peers?  | never: it may be a bug          |
| DEADLINE_EXCEEDED                     | nothing is learnt      | never: the caller's time is up  |

INTERNAL does not open a breaker: a request that no replica survives would open all of them. Neither does a deadline:
callers with short ones would. ``grpc-retry-pushback-ms`` (gRFC A6) overrides RetryInfo, and spares the replica whatever
the code; negative, it forbids to retry.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import grpc

from trichord import pushback
from trichord.errors import DeadlineError, InternalError, OverloadedError, TrichordError, UnavailableError
from trichord.status import from_rpc_error

Conclusion = Literal["well", "failed", "pushed_back", "faulty", "nothing"]


class Verdict(NamedTuple):
    """What a failed call says."""

    conclusion: Conclusion
    """Of the replica."""
    error: TrichordError
    """To raise; its ``retry_after_s`` is None where no further try is wanted."""
    pushback_s: float = 0.0
    """Seconds for which the replica wants no calls."""


def judge(rpc_error: grpc.aio.AioRpcError, peer: str) -> Verdict:
    """Reads a failed call to a replica of ``peer``."""
    error = from_rpc_error(rpc_error, peer)
    wanted_s = pushback.read_s(rpc_error.trailing_metadata() or ())
    if wanted_s is not None:
        error.retry_after_s = wanted_s if wanted_s >= 0 else None
    conclusion = _conclude(error)
    asks_for_peace = conclusion == "pushed_back" or wanted_s is not None
    return Verdict(conclusion, error, (error.retry_after_s or 0.0) if asks_for_peace else 0.0)


def silence(peer: str, *, is_telling: bool) -> Verdict:
    """A replica that did not begin to answer while another one could have; short silences tell nothing."""
    error = UnavailableError(f"The {peer} did not begin to answer. Try again shortly.", retry_after_s=1.0)
    return Verdict("failed" if is_telling else "nothing", error)


def is_retryable(error: BaseException) -> bool:
    """Whether the same request may be sent again, to a replica that takes calls."""
    return isinstance(error, UnavailableError | OverloadedError) and error.retry_after_s is not None


def _conclude(error: TrichordError) -> Conclusion:
    match error:
        case UnavailableError():
            return "failed"
        case OverloadedError():
            return "pushed_back" if error.retry_after_s is not None else "well"
        case DeadlineError():
            return "nothing"
        case InternalError():
            return "faulty"
        case _:
            return "well"
