"""Errors to gRPC statuses with google.rpc details, and back.

Details stay far below the 16 KiB at which trailers break a call (gRPC's hard metadata limit). Knows nothing of servers.
"""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from trichord import errors

DOMAIN = "trichord.dev"
"""Domain of every ErrorInfo (AIP-193)."""

MAX_MESSAGE_BYTES = 1024
MAX_FIELD_BYTES = 256
"""In UTF-8. The message travels three times (grpc-message, Status, BadRequest), the field twice."""

_BY_REASON: dict[str, type[errors.TrichordError]] = {
    cls.reason: cls
    for name in errors.__all__
    if (cls := getattr(errors, name)) is not errors.TrichordError and not issubclass(cls, errors.StartupError)
}
_BY_CODE: dict[grpc.StatusCode, type[errors.TrichordError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.RequestError,
    grpc.StatusCode.OUT_OF_RANGE: errors.RequestError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FingerprintError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.OverloadedError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.CANCELLED: errors.UnavailableError,  # not by us: the peer is going away
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineError,
    grpc.StatusCode.UNIMPLEMENTED: errors.FeatureOffError,
}


def of_reason(reason: str) -> type[errors.TrichordError]:
    """The class of errors that have a reason; InternalError for one that nobody has."""
    return _BY_REASON.get(reason, errors.InternalError)


def to_status(error: errors.TrichordError) -> grpc.Status:
    """The status of an error: ErrorInfo and, where they apply, BadRequest, ResourceInfo, QuotaFailure and RetryInfo."""
    message, field = _cut(error.message, MAX_MESSAGE_BYTES), _cut(error.field, MAX_FIELD_BYTES)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata={"field": field})
    details: list[any_pb2.Any] = [_any(info)]
    if isinstance(error, errors.NotFoundError):
        details.append(_any(error_details_pb2.ResourceInfo(resource_type="trichord", resource_name=field)))
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        details.append(_any(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, errors.QuotaError):
        spent = error_details_pb2.QuotaFailure.Violation(subject=error.quota)
        details.append(_any(error_details_pb2.QuotaFailure(violations=[spent])))
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(error.retry_after_s * 1000))
        details.append(_any(retry))
    code = code_pb2.Code.Value(error.code.name)
    status: grpc.Status = rpc_status.to_status(status_pb2.Status(code=code, message=message, details=details))
    return status


def from_rpc_error(rpc_error: grpc.aio.AioRpcError, peer: str) -> errors.TrichordError:
    """The error that a call to ``peer`` (its name for people) failed with.

    A peer's own errors come back as their class with message and field; anything else (connection refused, reset, a
    message over the limit) becomes the class of its code, with a message of ours: a library's text stays inside.
    """
    try:
        status = rpc_status.from_call(rpc_error)
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        quota = error_details_pb2.QuotaFailure()
        for detail in status.details if status else ():
            for message in (info, retry, quota):
                detail.Unpack(message)
    except (ValueError, DecodeError):  # details that no peer of ours makes
        return _foreign(rpc_error.code(), peer)
    if info.domain != DOMAIN or info.reason not in _BY_REASON:
        return _foreign(rpc_error.code(), peer)
    retry_after_s = retry.retry_delay.ToMilliseconds() / 1000 if retry.HasField("retry_delay") else None
    error = _BY_REASON[info.reason](status.message, field=info.metadata.get("field", ""), retry_after_s=retry_after_s)
    error.is_relayed = True
    if isinstance(error, errors.QuotaError) and quota.violations:
        error.quota = quota.violations[0].subject
    return error


def _foreign(code: grpc.StatusCode, peer: str) -> errors.TrichordError:
    cls = _BY_CODE.get(code, errors.InternalError)
    if cls is errors.UnavailableError:
        return cls(f"The {peer} does not answer. Try again shortly.", retry_after_s=1.0)
    if cls is errors.DeadlineError:
        return cls(f"The {peer} did not answer in time. Allow a longer deadline or try again.")
    return cls(f"The {peer} refused the call ({code.name}).")


def _cut(text: str, max_bytes: int) -> str:
    return text.encode(errors="replace")[:max_bytes].decode(errors="ignore")


def _any(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
