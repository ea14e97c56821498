"""Pieces of an answer from the contract's events: usage, reasons, log-probabilities, extras. Pure.

Whole completions and stream chunks are both put together of these, so that they cannot differ.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.message import Message

from gateway.openai_http.paths import Paths
from gateway.openai_http.responses import Extras, FinishReason, Logprobs, TokenLogprob, TopLogprob, Usage
from trichord.v1 import decoder_pb2, gateway_pb2

LEAST_LOGPROB = -9999.0
"""OpenAI's figure for a token that is as good as impossible; JSON has no infinity."""


class Heading(NamedTuple):
    """What every chunk and completion of one answer begins with."""

    id: str
    created: int
    """Unix seconds."""
    model: str
    system_fingerprint: str | None
    """None where it is not known, as of an answer that was given a while ago."""

    @classmethod
    def new(cls, model: str, system_fingerprint: str) -> Heading:
        """The heading of an answer that begins now."""
        return cls(f"chatcmpl-{secrets.token_hex(16)}", int(time.time()), model, system_fingerprint)


def usage(usage: gateway_pb2.Usage) -> Usage:
    """What a request took."""
    prompt = usage.prompt_tokens
    num_prompt_tokens = prompt.text + prompt.image + prompt.audio
    return {
        "prompt_tokens": num_prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": num_prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {
            "text_tokens": prompt.text,
            "image_tokens": prompt.image,
            "audio_tokens": prompt.audio,
            "cached_tokens": usage.cached_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def finish_reasons(finished: gateway_pb2.ChatFinished, num_samples: int) -> list[FinishReason]:
    """Why each of n answers ended."""
    told = [sample.reason for sample in finished.samples] or [finished.reason] * num_samples
    return ["length" if reason == decoder_pb2.FINISH_REASON_LENGTH else "stop" for reason in told]


def logprobs(tokens: Sequence[decoder_pb2.TokenLogprobs]) -> Logprobs:
    """How likely tokens were."""
    content: list[TokenLogprob] = [
        {**_logprob(token.chosen), "top_logprobs": [_logprob(rival) for rival in token.likeliest]} for token in tokens
    ]
    return {"content": content, "refusal": None}


def extras(
    finished: gateway_pb2.ChatFinished,
    skipped: Iterable[gateway_pb2.ItemSkipped],
    paths: Paths,
    include_receipt: bool,
) -> Extras:
    """What OpenAI's API has no place for; empty for most requests."""
    told: Extras = {}
    if left_out := [
        {"param": paths.of_part(item.message_index, item.part_index), "reason": item.reason} for item in skipped
    ]:
        told["skipped"] = left_out  # type: ignore[typeddict-item]
    if include_receipt:
        told["receipt"], told["usage"] = _in_json(finished.receipt), _in_json(finished.usage)
    return told


def _in_json(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return told


def _logprob(token: decoder_pb2.TokenLogprob) -> TopLogprob:
    return {
        "token": token.token.decode(errors="replace"),
        "logprob": max(token.logprob, LEAST_LOGPROB),
        "bytes": list(token.token),
    }
