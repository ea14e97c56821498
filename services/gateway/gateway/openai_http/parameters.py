"""A body to a checked request: what is OpenAI's and not ours is refused by name, the rest goes through the schema.

Paths in errors are those of the client's own JSON, e.g. ``messages[1].content[0]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.openai_http.refusals import HttpError
from gateway.openai_http.schema import CompletionRequest, Strict

S = TypeVar("S", bound=Strict)

_SUPPORTED_VALUES: dict[str, tuple[object, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "reasoning_effort": ("none",),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Parameters of OpenAI's that would change the answer: null and these values mean what happens anyway."""

IGNORED = (
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
)
"""Parameters of OpenAI's that are hints: accepted and without effect, as are ``user`` and ``metadata``."""

_UNSUPPORTED_IN_MESSAGES = ("name", "tool_calls", "function_call", "audio", "tool_call_id")

_CODES = {"missing": "missing_required_parameter", "union_tag_not_found": "missing_required_parameter"}


def parse(body: Mapping[str, Any]) -> CompletionRequest:
    """The request that a body is. Raises HttpError naming the first parameter that is wrong."""
    _refuse_unsupported(body)
    request = validated(CompletionRequest, body)
    _check_together(request)
    return request


def validated(kind: type[S], body: Mapping[str, Any]) -> S:
    """``body`` as the schema ``kind``. Raises HttpError naming the first member that is wrong."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_context=False)[0], body) from error


def unsupported(param: str, message: str) -> HttpError:
    """A parameter that is known and not served."""
    return HttpError(message, code="unsupported_parameter", param=param)


def _refuse_unsupported(body: Mapping[str, Any]) -> None:
    for name, values in _SUPPORTED_VALUES.items():
        value = body.get(name)
        if value is not None and value not in values:
            raise unsupported(name, f"{name} is not supported by this deployment. Leave it out.")
    messages = body.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        for name in _UNSUPPORTED_IN_MESSAGES:
            if isinstance(message, dict) and message.get(name):
                param = f"messages[{index}].{name}"
                raise unsupported(param, f"{param} is not supported by this deployment. Leave it out.")


def _check_together(request: CompletionRequest) -> None:
    if request.top_logprobs is not None and not request.logprobs:
        raise HttpError("top_logprobs is only valid with logprobs: true.", code="invalid_value", param="top_logprobs")
    if request.stream_options is not None and not request.stream:
        message = "stream_options is only valid with stream: true."
        raise HttpError(message, code="invalid_value", param="stream_options")
    both = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(both) > 1:
        message = "max_tokens and max_completion_tokens differ. Send one of them."
        raise HttpError(message, code="invalid_value", param="max_tokens")


def _refusal(error: ErrorDetails, body: Mapping[str, Any]) -> HttpError:
    path = _path(error["loc"], body)
    message = f"{path}: {error['msg']}." if path else f"{error['msg']}."
    return HttpError(message, code=_CODES.get(error["type"], "invalid_value"), param=path)


def _path(location: Sequence[str | int], body: Any) -> str:
    """The client's path of a place in the schema: steps that name a kind of message or part are not in the JSON."""
    path, value = "", body
    for position, step in enumerate(location):
        is_last = position == len(location) - 1
        if isinstance(step, int) and isinstance(value, list) and step < len(value):
            path, value = f"{path}[{step}]", value[step]
        elif isinstance(step, str) and isinstance(value, Mapping) and (step in value or is_last):
            path, value = f"{path}.{step}" if path else step, value.get(step)
    return path
