"""The shapes of files and batches, as JSON: OpenAI's. Types only; /openapi.json tells them.

https://platform.openai.com/docs/api-reference/files and .../batch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from gateway.openai_http.batch_lines import LineError
from gateway.openai_http.schema import ShortText, Strict

Purpose = Literal["batch", "batch_output"]
BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
MIN_EXPIRY_S, MAX_EXPIRY_S = 3600, 30 * 24 * 3600


class FileObject(TypedDict):
    """A file, but for its bytes."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    """Unix seconds, as all times here."""
    expires_at: int | None
    filename: str
    purpose: Purpose
    status: Literal["processed"]


class FileList(TypedDict):
    """A page of files."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(TypedDict):
    """A file that is no more."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class OutputExpiry(Strict):
    """When the files of a batch's output are deleted."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=MIN_EXPIRY_S, le=MAX_EXPIRY_S, description="After the file was made.")


class BatchRequest(Strict):
    """POST /v1/batches."""

    input_file_id: str = Field(min_length=1, max_length=64, description="Of a file with purpose batch.")
    endpoint: Literal["/v1/chat/completions"]
    completion_window: str = Field(
        pattern=r"^[1-9][0-9]{0,2}h$", description="24h, as OpenAI has it, or another number of hours that is allowed."
    )
    metadata: dict[Annotated[str, Field(min_length=1, max_length=64)], ShortText] | None = Field(None, max_length=16)
    output_expires_after: OutputExpiry | None = None


class RequestCounts(TypedDict):
    """Lines by how they ended; failed are those of the error file, lines that are no requests among them."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(TypedDict):
    """Of the prompts."""

    cached_tokens: int


class OutputTokensDetails(TypedDict):
    """Of the answers."""

    reasoning_tokens: int


class BatchUsage(TypedDict):
    """What all answers took together, as far as they are there."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class LineErrors(TypedDict):
    """What is wrong with the input; the first hundred."""

    object: Literal["list"]
    data: list[LineError]


class Batch(TypedDict):
    """A batch as it is now."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: LineErrors | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage | None
    metadata: dict[str, str] | None


class BatchList(TypedDict):
    """A page of batches."""

    object: Literal["list"]
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool
