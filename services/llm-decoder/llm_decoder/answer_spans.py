"""What the front's spans say of a prompt and of answers. Knows token counts and times only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.trace import Span, SpanKind

from llm_decoder.answer import Answer
from llm_decoder.prompt import PromptTokens
from llm_decoder.stopwatch import Stopwatch
from trichord import finish_reason
from trichord.telemetry import names, spans


def of_prompt(prompt: PromptTokens) -> spans.Attributes:
    """Its tokens by modality."""
    return {
        names.TEXT_TOKENS: prompt.num_text_tokens,
        names.IMAGE_TOKENS: prompt.num_image_tokens,
        names.AUDIO_TOKENS: prompt.num_audio_tokens,
    }


@contextmanager
def of_stream(name: str, answers: Sequence[Answer], stopwatch: Stopwatch) -> Iterator[Span]:
    """A client span around the engine's answers: at its end it says how far they came, however it ends.

    Never the current one: see ``spans.detached``.
    """
    with spans.detached(name, SpanKind.CLIENT) as begun:
        try:
            yield begun
        finally:
            if begun.is_recording():
                _describe(begun, answers, stopwatch)


def _describe(begun: Span, answers: Sequence[Answer], stopwatch: Stopwatch) -> None:
    timings = stopwatch.timings
    begun.set_attributes(
        {
            names.OUTPUT_TOKENS: sum(answer.num_tokens for answer in answers),
            names.CACHED_TOKENS: stopwatch.num_cached_tokens,
            names.PREEMPTIONS: timings.preemptions,
        }
    )
    reasons = [finish_reason.word(answer.reason) for answer in answers if answer.reason is not None]
    if len(reasons) == len(answers):
        begun.set_attribute(names.FINISH_REASONS, reasons)
    if timings.first_token_ms:
        ago_ns = int(stopwatch.elapsed_s * 1e9 - timings.first_token_ms * 1e6)
        begun.add_event(names.FIRST_TOKEN, timestamp=time.time_ns() - ago_ns)
