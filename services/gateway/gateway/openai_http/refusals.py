"""Errors as OpenAI clients expect them: status, body and retry headers. Pure.

Every error of ``trichord.errors`` has a place in one table; ``HttpError`` is what only this face refuses.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from typing_extensions import TypedDict

from trichord import errors
from trichord.errors import MediaError, NotFoundError, QuotaError, RequestError, TrichordError

MAX_MESSAGE_CHARS = 1024
MAX_PARAM_CHARS = 256


class ErrorDetail(TypedDict):
    """What went wrong; all four keys are always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """The body of every refused request, and of an error in a stream."""

    error: ErrorDetail


class HttpError(RequestError):
    """A request that the HTTP face itself refuses. ``field`` is a path in the client's own JSON."""

    def __init__(self, message: str, *, code: str, param: str = "", status: int = 400) -> None:
        super().__init__(message, field=param)
        self.status = status
        self.openai_code = code


class Kind(NamedTuple):
    """How OpenAI's API calls an error."""

    status: int
    type: str
    code: str


_KINDS: dict[type[TrichordError], Kind] = {
    errors.RequestError: Kind(400, "invalid_request_error", "invalid_value"),
    errors.MediaError: Kind(400, "invalid_request_error", "invalid_media"),
    errors.ContextLengthError: Kind(400, "invalid_request_error", "context_length_exceeded"),
    errors.UnauthenticatedError: Kind(401, "authentication_error", "invalid_api_key"),
    errors.ForbiddenError: Kind(403, "permission_error", "permission_denied"),
    errors.NotFoundError: Kind(404, "invalid_request_error", "not_found"),
    errors.ConflictError: Kind(409, "invalid_request_error", "idempotency_conflict"),
    errors.AlreadyExistsError: Kind(409, "invalid_request_error", "already_exists"),
    errors.FingerprintError: Kind(503, "server_error", "embedding_fingerprint_mismatch"),
    errors.QuotaError: Kind(429, "requests", "rate_limit_exceeded"),
    errors.OverloadedError: Kind(503, "server_error", "overloaded"),
    errors.UnavailableError: Kind(503, "server_error", "unavailable"),
    errors.DeadlineError: Kind(504, "server_error", "deadline_exceeded"),
    errors.FeatureOffError: Kind(501, "invalid_request_error", "unsupported"),
    errors.TrichordError: Kind(500, "server_error", "internal_error"),
}
_STATUS_TYPES = {405: "invalid_request_error", 408: "timeout_error"}


def kind(error: TrichordError) -> Kind:
    """Status, type and code of an error."""
    if isinstance(error, HttpError):
        return Kind(error.status, _STATUS_TYPES.get(error.status, "invalid_request_error"), error.openai_code)
    found = next(_KINDS[cls] for cls in type(error).__mro__ if cls in _KINDS)
    if isinstance(error, NotFoundError) and error.field == "model":
        return found._replace(code="model_not_found")
    if isinstance(error, MediaError):
        return found._replace(code=_media_code(error.field))
    if isinstance(error, QuotaError) and error.quota:
        return found._replace(type=error.quota)
    return found


def body(error: TrichordError) -> ErrorBody:
    """The JSON of an error."""
    _, error_type, code = kind(error)
    param = error.field[:MAX_PARAM_CHARS] or None
    return {"error": {"message": error.message[:MAX_MESSAGE_CHARS], "type": error_type, "param": param, "code": code}}


def headers(error: TrichordError) -> dict[str, str]:
    """Whether and when to try again, said so that the official clients obey it."""
    if kind(error).status == 401:
        return {"www-authenticate": "Bearer", "x-should-retry": "false"}
    if error.retry_after_s is None:
        return {"x-should-retry": "false"}
    return {
        "x-should-retry": "true",
        "retry-after": str(max(1, math.ceil(error.retry_after_s))),
        "retry-after-ms": str(max(1, math.ceil(error.retry_after_s * 1000))),
    }


def _media_code(field: str) -> str:
    return next((f"invalid_{medium}" for medium in ("image", "audio") if medium in field), "invalid_media")
