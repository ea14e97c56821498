"""The one tree of errors.

Every error that leaves a Trichord process is one of these. Each class carries the gRPC status code that it becomes and
a stable reason (part of the API, listed in docs/api.md); ``trichord.status`` turns it into a status with google.rpc
details and back. Knows nothing of gRPC servers, of retries, or of HTTP.

::

    TrichordError
    ├── RequestError                INVALID_ARGUMENT     the caller sent something wrong; ``field`` says where
    │   ├── MediaError                                   a medium cannot be decoded or breaks a limit
    │   └── ContextLengthError                           prompt and answer do not fit the model
    ├── UnauthenticatedError        UNAUTHENTICATED      the caller shows no key or token, or a wrong one
    ├── ForbiddenError              PERMISSION_DENIED    the caller's key does not allow this
    ├── NotFoundError               NOT_FOUND            a model or handle that is not there
    ├── ConflictError               ABORTED              the same request is in progress, or its key was used otherwise
    ├── AlreadyExistsError          ALREADY_EXISTS       a request id that names something else already
    ├── FingerprintError            FAILED_PRECONDITION  an embedding of an encoder that is not accepted
    ├── OverloadedError             RESOURCE_EXHAUSTED   a bound is reached; try again after ``retry_after_s``
    │   └── QuotaError                                   the tenant's own budget is spent; ``quota`` says which
    ├── UnavailableError            UNAVAILABLE          a part of the cluster does not answer
    ├── DeadlineError               DEADLINE_EXCEEDED    the request's time is up
    ├── FeatureOffError             UNIMPLEMENTED        this deployment does not do that
    ├── InternalError               INTERNAL             a bug; the message never says more than an id
    └── StartupError                INTERNAL             the process cannot start (never sent over a wire)
        ├── SettingsError                                a setting is missing, unknown or out of range
        ├── CheckpointError                              a checkpoint is broken; ``tensor`` says which tensor
        ├── ClusterError                                 a process of the local cluster did not start or stop
        └── TrainingError                                training or an evaluation cannot run
"""

from __future__ import annotations

from typing import ClassVar

import grpc

__all__ = [
    "AlreadyExistsError",
    "CheckpointError",
    "ClusterError",
    "ConflictError",
    "ContextLengthError",
    "DeadlineError",
    "FeatureOffError",
    "FingerprintError",
    "ForbiddenError",
    "InternalError",
    "MediaError",
    "NotFoundError",
    "OverloadedError",
    "QuotaError",
    "RequestError",
    "SettingsError",
    "StartupError",
    "TrainingError",
    "TrichordError",
    "UnauthenticatedError",
    "UnavailableError",
]


class TrichordError(Exception):
    """Base of all errors. ``message`` is one or two sentences: what is wrong, and what to do."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, field: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        """Path of the offending part of the request, e.g. ``messages[0].parts[2].image_bytes``; empty if none."""
        self.retry_after_s = retry_after_s
        """Seconds after which the same request may succeed; None if it will not."""
        self.is_relayed = False
        """Whether a peer of ours told of it: it happened there."""

    def at(self, field: str) -> TrichordError:
        """The same error, its field replaced: a hop names the part as its own caller knows it."""
        self.field = field
        return self


class RequestError(TrichordError):
    """The caller sent something wrong."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"


class MediaError(RequestError):
    """A medium cannot be decoded, is of an unknown format, or breaks a limit."""

    reason = "INVALID_MEDIA"


class ContextLengthError(RequestError):
    """Prompt and answer do not fit the model's context."""

    reason = "CONTEXT_LENGTH_EXCEEDED"


class UnauthenticatedError(TrichordError):
    """The caller shows no key or token, or one that is wrong, expired or revoked; never said which."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class ForbiddenError(TrichordError):
    """The caller is known, and its key does not allow this."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "FORBIDDEN"


class NotFoundError(TrichordError):
    """A model or handle that is not there, or not the caller's."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class ConflictError(TrichordError):
    """The same idempotent request is in progress, or its key was used for another one."""

    code = grpc.StatusCode.ABORTED
    reason = "CONFLICT"


class AlreadyExistsError(TrichordError):
    """A request id was used before, for something else that was kept."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class FingerprintError(TrichordError):
    """An embedding was made by an encoder that the decoder was not told to accept."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "EMBEDDING_FINGERPRINT_MISMATCH"


class OverloadedError(TrichordError):
    """A bound on waiting or stored work is reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"


class QuotaError(OverloadedError):
    """The tenant's own budget of one kind is spent; others' requests go on."""

    reason = "QUOTA_EXCEEDED"

    def __init__(self, message: str, *, quota: str = "", field: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, field=field, retry_after_s=retry_after_s)
        self.quota = quota
        """Which budget: ``requests``, ``tokens``, ``tiles``, ``audio_seconds`` or ``concurrency``."""


class UnavailableError(TrichordError):
    """A part of the cluster does not answer."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


class DeadlineError(TrichordError):
    """The request's time is up."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class FeatureOffError(TrichordError):
    """A feature that this deployment does not offer."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "FEATURE_OFF"


class InternalError(TrichordError):
    """A bug. The message carries an id to find the log line by, and nothing else."""


class StartupError(TrichordError):
    """The process cannot start."""

    reason = "STARTUP"


class SettingsError(StartupError):
    """A setting is missing, unknown or out of range."""

    reason = "INVALID_SETTING"


class CheckpointError(StartupError):
    """A checkpoint is broken: a tensor missing, extra or mis-shaped, or a file that is not safetensors."""

    reason = "BROKEN_CHECKPOINT"

    def __init__(self, message: str, *, tensor: str = "") -> None:
        super().__init__(message)
        self.tensor = tensor
        """The tensor that is wrong; empty if the file or the config is."""


class ClusterError(StartupError):
    """A process of the local cluster did not start or stop."""

    reason = "CLUSTER"


class TrainingError(StartupError):
    """Training or an evaluation cannot run: a tool, a font or a voice is missing, or a run cannot be resumed."""

    reason = "TRAINING"
