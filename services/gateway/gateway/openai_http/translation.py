"""A chat completion's request to the contract's ChatRequest. Pure.

System and developer messages at the beginning become the one system message that the contract knows, a blank line
between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gateway.openai_http import media
from gateway.openai_http.paths import Paths
from gateway.openai_http.refusals import HttpError
from gateway.openai_http.schema import (
    AssistantMessage,
    AudioPart,
    CompletionRequest,
    ImagePart,
    JsonObjectFormat,
    JsonSchemaFormat,
    SystemMessage,
    TextPart,
    UserMessage,
)
from trichord.v1 import decoder_pb2, gateway_pb2

DEFAULT_TEMPERATURE = 1.0
"""OpenAI's; the contract's own default is greedy."""

MAX_SCHEMA_BYTES = 64 * 1024

_PRIORITIES = {"live": decoder_pb2.PRIORITY_LIVE, "batch": decoder_pb2.PRIORITY_BATCH}
_DEGRADATIONS = {
    "fail": gateway_pb2.DEGRADATION_FAIL,
    "wait": gateway_pb2.DEGRADATION_WAIT,
    "answer_without": gateway_pb2.DEGRADATION_ANSWER_WITHOUT,
}
_SAME_NAME = (
    "n",
    "frequency_penalty",
    "presence_penalty",
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "ignore_eos",
)


class Translated(NamedTuple):
    """A request of the contract, and where its parts came from."""

    request: gateway_pb2.ChatRequest
    paths: Paths


def translate(wanted: CompletionRequest, request_id: str, max_media_bytes: int) -> Translated:
    """The request of the contract. Raises HttpError; may take long for large media, so call it in a thread."""
    paths = Paths(_names(wanted))
    request = gateway_pb2.ChatRequest(
        request_id=request_id,
        model=wanted.model,
        messages=_messages(wanted.messages, paths, max_media_bytes),
        sampling=sampling(wanted),
    )
    if wanted.priority is not None:
        request.priority = _PRIORITIES[wanted.priority]
    if wanted.degradation is not None:
        request.degradation = _DEGRADATIONS[wanted.degradation]
    return Translated(request, paths)


def _names(wanted: CompletionRequest) -> dict[str, str]:
    """What the client calls parameters that have several names or shapes."""
    names = {"logprobs": "top_logprobs"}
    if wanted.max_completion_tokens is not None:
        names["max_tokens"] = "max_completion_tokens"
    if isinstance(wanted.stop, str):
        names["stop"] = "stop"
    return names


def sampling(wanted: CompletionRequest) -> decoder_pb2.SamplingParams:
    """How tokens are chosen. Raises HttpError for a schema that is too large."""
    params = decoder_pb2.SamplingParams(
        temperature=DEFAULT_TEMPERATURE if wanted.temperature is None else wanted.temperature,
        stop=[wanted.stop] if isinstance(wanted.stop, str) else wanted.stop,
        logit_bias={int(token_id): bias for token_id, bias in (wanted.logit_bias or {}).items()},
        max_tokens=wanted.max_completion_tokens or wanted.max_tokens,
        **{name: value for name in _SAME_NAME if (value := getattr(wanted, name)) is not None},
    )
    if wanted.seed is not None:
        params.seed = wanted.seed % (1 << 63)
    if wanted.logprobs:
        params.logprobs = wanted.top_logprobs or 0
    if wanted.top_p == 0:
        params.temperature = 0.0
    elif wanted.top_p is not None:
        params.top_p = wanted.top_p
    _hold_to_format(params, wanted)
    return params


def _hold_to_format(params: decoder_pb2.SamplingParams, wanted: CompletionRequest) -> None:
    match wanted.response_format:
        case JsonObjectFormat():
            params.response_format.json_object = True
        case JsonSchemaFormat(json_schema=described):
            schema = json.dumps(described.schema_, ensure_ascii=False, separators=(",", ":"))
            if len(schema.encode()) > MAX_SCHEMA_BYTES:
                message = f"A schema has at most {MAX_SCHEMA_BYTES} bytes."
                raise HttpError(message, code="invalid_value", param="response_format.json_schema.schema")
            params.response_format.json_schema = schema


def _messages(
    messages: Sequence[SystemMessage | UserMessage | AssistantMessage], paths: Paths, max_media_bytes: int
) -> list[gateway_pb2.Message]:
    translated: list[gateway_pb2.Message] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        role = _role(message)
        if role == decoder_pb2.ROLE_SYSTEM and translated:
            _check_is_leading(translated, path)
            translated[0].parts.add(text="\n\n")
            paths.add_part(f"{path}.content")
        else:
            translated.append(gateway_pb2.Message(role=role))
            paths.add_message(path)
        for part, part_path in _parts(message, f"{path}.content", max_media_bytes):
            translated[-1].parts.append(part)
            paths.add_part(part_path)
    return translated


def _check_is_leading(before: Sequence[gateway_pb2.Message], path: str) -> None:
    if before[-1].role != decoder_pb2.ROLE_SYSTEM:
        message = "System and developer messages come before all others."
        raise HttpError(message, code="invalid_value", param=f"{path}.role")


def _role(message: SystemMessage | UserMessage | AssistantMessage) -> decoder_pb2.Role:
    match message:
        case SystemMessage():
            return decoder_pb2.ROLE_SYSTEM
        case UserMessage():
            return decoder_pb2.ROLE_USER
        case AssistantMessage():
            return decoder_pb2.ROLE_ASSISTANT


def _parts(
    message: SystemMessage | UserMessage | AssistantMessage, path: str, max_media_bytes: int
) -> Iterator[tuple[gateway_pb2.Part, str]]:
    if isinstance(message.content, str):
        yield gateway_pb2.Part(text=message.content), path
        return
    for index, part in enumerate(message.content):
        match part:
            case TextPart():
                yield gateway_pb2.Part(text=part.text), f"{path}[{index}].text"
            case ImagePart():
                own = f"{path}[{index}].image_url"
                yield media.image_part(part.image_url.url, own, max_media_bytes), own
            case AudioPart():
                own = f"{path}[{index}].input_audio"
                yield media.audio_part(part.input_audio.data, own, max_media_bytes), own
