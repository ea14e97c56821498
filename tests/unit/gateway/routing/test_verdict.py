"""What a failed call says of the replica, for every kind of error and trailer."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.verdict import is_retryable, judge, silence
from trichord import errors
from trichord.pushback import KEY as PUSHBACK_KEY
from trichord.status import to_status

Trailers = tuple[tuple[str, str | bytes], ...]


def failed(code: grpc.StatusCode, *trailers: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), "text")


def ours(error: errors.TrichordError, *trailers: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    status = to_status(error)
    return grpc.aio.AioRpcError(
        status.code, grpc.aio.Metadata(), grpc.aio.Metadata(*status.trailing_metadata, *trailers), status.details
    )


@pytest.mark.parametrize(
    ("rpc_error", "conclusion", "pushback_s", "retryable"),
    [
        (failed(grpc.StatusCode.UNAVAILABLE), "failed", 0, True),
        (failed(grpc.StatusCode.CANCELLED), "failed", 0, True),
        (failed(grpc.StatusCode.DEADLINE_EXCEEDED), "nothing", 0, False),
        (failed(grpc.StatusCode.INTERNAL), "faulty", 0, False),
        (failed(grpc.StatusCode.UNKNOWN), "faulty", 0, False),
        (failed(grpc.StatusCode.INVALID_ARGUMENT), "well", 0, False),
        (failed(grpc.StatusCode.UNIMPLEMENTED), "well", 0, False),
        (failed(grpc.StatusCode.RESOURCE_EXHAUSTED), "well", 0, False),  # a message over the limit
        (ours(errors.OverloadedError("Full.", retry_after_s=2)), "pushed_back", 2, True),
        (ours(errors.OverloadedError("Full.")), "well", 0, False),
        (ours(errors.UnavailableError("Gone.", retry_after_s=2)), "failed", 0, True),
        (ours(errors.UnavailableError("Gone.")), "failed", 0, False),
        (ours(errors.FingerprintError("Skew.")), "well", 0, False),
        (ours(errors.MediaError("No image.")), "well", 0, False),
        (ours(errors.InternalError("Bug.")), "faulty", 0, False),
        (failed(grpc.StatusCode.UNAVAILABLE, (PUSHBACK_KEY, "1500")), "failed", 1.5, True),
        (failed(grpc.StatusCode.UNAVAILABLE, (PUSHBACK_KEY, "-1")), "failed", 0, False),
        (failed(grpc.StatusCode.UNAVAILABLE, (PUSHBACK_KEY, "soon")), "failed", 0, False),
        (failed(grpc.StatusCode.UNAVAILABLE, (PUSHBACK_KEY, "9" * 5000)), "failed", 0, False),
        (ours(errors.OverloadedError("Full.", retry_after_s=2), (PUSHBACK_KEY, "500")), "pushed_back", 0.5, True),
    ],
)
def test_a_failure_is_judged(
    rpc_error: grpc.aio.AioRpcError, conclusion: str, pushback_s: float, retryable: bool
) -> None:
    judged = judge(rpc_error, "vision encoder")
    assert judged.conclusion == conclusion
    assert judged.pushback_s == pushback_s
    assert is_retryable(judged.error) == retryable


@given(st.sampled_from(list(grpc.StatusCode)), st.text(max_size=12))
def test_any_trailer_is_read_without_harm(code: grpc.StatusCode, value: str) -> None:
    judged = judge(failed(code, (PUSHBACK_KEY, value)), "vision encoder")
    assert 0 <= judged.pushback_s < 1e8
    assert isinstance(judged.error, errors.TrichordError)


def test_silence_is_retryable_and_tells_of_the_replica_only_if_it_was_long() -> None:
    assert silence("decoder", is_telling=True).conclusion == "failed"
    assert silence("decoder", is_telling=False).conclusion == "nothing"
    assert is_retryable(silence("decoder", is_telling=False).error)


@pytest.mark.parametrize("error", [ValueError(), errors.DeadlineError("Late."), errors.RequestError("Wrong.")])
def test_nothing_else_is_retryable(error: Exception) -> None:
    assert not is_retryable(error)
