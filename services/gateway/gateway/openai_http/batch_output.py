"""Results of a job's items, and lines that are no requests, to the lines of a batch's output: OpenAI's. Pure.

Answers are put together of the same pieces as live ones. What was answered, well or not, has a response; what was not
even asked, because it is no request, or the batch was cancelled or ran out of time, has an error instead.
Format: https://platform.openai.com/docs/api-reference/batch/request-output.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from gateway.openai_http import completion, refusals
from gateway.openai_http.answer import Heading
from gateway.openai_http.batch_lines import LineError, WrongLine
from gateway.openai_http.file_shapes import BatchUsage
from trichord.status import of_reason
from trichord.v1 import gateway_pb2, jobs_pb2

_UNASKED = {
    jobs_pb2.ITEM_STATE_CANCELLED: ("batch_cancelled", "The batch was cancelled before this request began."),
    jobs_pb2.ITEM_STATE_EXPIRED: ("batch_expired", "The batch's completion window ended before this was answered."),
}


class LineResponse(TypedDict):
    """What POST /v1/chat/completions would have answered."""

    status_code: int
    request_id: str
    body: Any
    """Completion or ErrorBody."""


class UnaskedError(TypedDict):
    """Why there is no response."""

    code: str
    message: str


class OutputLine(TypedDict):
    """One line of a batch's output or error file."""

    id: str
    custom_id: str | None
    """Null if the line had none."""
    response: LineResponse | None
    error: UnaskedError | LineError | None


def line(result: jobs_pb2.ItemResult, batch_id: str) -> OutputLine:
    """The line that tells how an item ended."""
    line_id = _id(batch_id, f"{result.index:06}")
    if result.state in _UNASKED:
        code, message = _UNASKED[result.state]
        unasked: UnaskedError = {"code": code, "message": message}
        return {"id": line_id, "custom_id": result.custom_id, "response": None, "error": unasked}
    status, body = (200, _completion(result)) if is_answered(result) else _refusal(result.error)
    response: LineResponse = {"status_code": status, "request_id": result.request_id, "body": body}
    return {"id": line_id, "custom_id": result.custom_id, "response": response, "error": None}


def wrong_line(wrong: WrongLine, batch_id: str) -> OutputLine:
    """The line that tells what is wrong with one of the input."""
    line_id = _id(batch_id, f"_line{wrong.error['line']:06}")
    return {"id": line_id, "custom_id": wrong.custom_id, "response": None, "error": wrong.error}


def is_answered(result: jobs_pb2.ItemResult) -> bool:
    """Whether the line belongs into the output file; else into the error file."""
    return result.state == jobs_pb2.ITEM_STATE_COMPLETED


def usage(told: gateway_pb2.Usage) -> BatchUsage:
    """What all answers took together."""
    prompt = told.prompt_tokens
    num_prompt_tokens = prompt.text + prompt.image + prompt.audio
    return {
        "input_tokens": num_prompt_tokens,
        "input_tokens_details": {"cached_tokens": told.cached_tokens},
        "output_tokens": told.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": num_prompt_tokens + told.completion_tokens,
    }


def _id(batch_id: str, name: str) -> str:
    return batch_id.replace("batch_", "batch_req_") + name


def _completion(result: jobs_pb2.ItemResult) -> Any:
    heading = Heading(f"chatcmpl-{result.request_id}", result.end_time.seconds, result.model, None)
    samples = [completion.Sample(text) for text in result.texts]
    return completion.whole(heading, result.finished, samples, tell_logprobs=False)


def _refusal(told: jobs_pb2.ItemError) -> tuple[int, Any]:
    error = of_reason(told.reason)(told.message, field=told.field)
    return refusals.kind(error).status, refusals.body(error)
