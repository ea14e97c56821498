"""The span of one chat, as the semantic conventions for generative AI have it: what was asked, and what it took.

Reads the contract's events as they pass. Nothing of what was said is noted, nor what a caller calls the model: the span
is named after the one that is served.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from opentelemetry import trace
from opentelemetry.util.types import AttributeValue

from trichord import finish_reason
from trichord.telemetry import names, spans
from trichord.v1 import gateway_pb2

PROVIDER = "trichord"
MAX_INT = (1 << 63) - 1
"""Of an attribute: a seed may be greater, and none of the spans that are sent with it would arrive."""

_SAMPLING = {
    names.REQUEST_MAX_TOKENS: "max_tokens",
    names.REQUEST_TEMPERATURE: "temperature",
    names.REQUEST_TOP_P: "top_p",
    names.REQUEST_TOP_K: "top_k",
    names.REQUEST_SEED: "seed",
    names.REQUEST_CHOICES: "n",
}

Events = AsyncGenerator[gateway_pb2.ChatResponse, None]


def spanned(events: Events) -> Events:
    """A chat's events, with its span around; the chat's own steps, its settling included, are the span's children.

    The span is a success once the last event is there: who has it need not wait for the end. A request that is not
    recorded has none, and its tokens pass at no cost.
    """
    return _spanned(events) if spans.is_recorded() else events


async def _spanned(events: Events) -> Events:
    began_s, has_begun = time.perf_counter(), False
    with spans.detached("chat", attributes={names.OPERATION: "chat", names.PROVIDER: PROVIDER}) as span:
        async with aclosing(spans.steps(span, events)) as steps:
            async for event in steps:
                if event.HasField("finished"):
                    span.set_attributes(_answered(event.finished))
                    spans.succeeded(span)
                elif not has_begun and event.HasField("token"):
                    has_begun = True
                    span.set_attribute(names.TIME_TO_FIRST_CHUNK, time.perf_counter() - began_s)
                yield event


def asked(request: gateway_pb2.ChatRequest) -> None:
    """Notes on the current span what was asked for, once the request's id is known to be one."""
    span, sampling = trace.get_current_span(), request.sampling
    if not span.is_recording():
        return
    span.set_attribute(names.REQUEST_ID, request.request_id)
    for name, field in _SAMPLING.items():
        if sampling.HasField(field) and (value := getattr(sampling, field)) <= MAX_INT:
            span.set_attribute(name, value)


def named(model: str) -> None:
    """Says which model the current span's chat is with, once that is known."""
    span = trace.get_current_span()
    span.update_name(f"chat {model}")
    span.set_attributes({names.REQUEST_MODEL: model, names.RESPONSE_MODEL: model})


def _answered(finished: gateway_pb2.ChatFinished) -> Mapping[str, AttributeValue]:
    usage, prompt = finished.usage, finished.usage.prompt_tokens
    reasons = [sample.reason for sample in finished.samples] or [finished.reason]
    return {
        names.FINISH_REASONS: [finish_reason.word(reason) for reason in reasons],
        names.INPUT_TOKENS: prompt.text + prompt.image + prompt.audio,
        names.TEXT_TOKENS: prompt.text,
        names.IMAGE_TOKENS: prompt.image,
        names.AUDIO_TOKENS: prompt.audio,
        names.CACHED_TOKENS: usage.cached_tokens,
        names.OUTPUT_TOKENS: usage.completion_tokens,
    }
