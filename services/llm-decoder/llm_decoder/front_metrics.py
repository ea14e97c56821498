"""What the decoder's front tells of its answers: where their time went, how many tokens they had, how they ended.

The engine's own metrics, of all its sequences together, are on Triton's page (metrics.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from prometheus_client import Counter, Histogram

from llm_decoder.answer import Answer
from llm_decoder.stopwatch import Stopwatch
from trichord import finish_reason
from trichord.telemetry.exemplars import exemplar
from trichord.v1 import decoder_pb2

# OpenTelemetry's, for the time to a first token and with two steps more below: most stages are parts of it.
STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30)

QUEUE = Histogram(
    "trichord_generate_queue_seconds",
    "Seconds that a request waited in the engine until it was first scheduled.",
    buckets=STAGE_BUCKETS_S,
)
PREFILL = Histogram(
    "trichord_generate_prefill_seconds",
    "Seconds from a request's first step in the engine to its first token.",
    buckets=STAGE_BUCKETS_S,
)
FIRST_TOKEN = Histogram(
    "trichord_generate_first_token_seconds",
    "Seconds from a request's arrival at the decoder's front to its first token.",
    buckets=STAGE_BUCKETS_S,
)
TOKENS = Counter(
    "trichord_generate_tokens",
    "Tokens of prompts (input, by what they stand for) and of answers (output, text), counted as an answer ends.",
    ["direction", "modality"],
)
CACHED_TOKENS = Counter(
    "trichord_generate_cached_tokens", "Tokens of prompts whose keys and values were in the engine's cache already."
)
PREEMPTIONS = Counter(
    "trichord_generate_preemptions", "Times that a request of the front gave its place in the engine up to another."
)
GENERATIONS = Counter(
    "trichord_generations",
    "Answers by what ended them: end_of_turn, stop_string, length, cancelled by the caller, or failed.",
    ["finish_reason"],
)


@asynccontextmanager
async def counted(
    prompt: decoder_pb2.PromptTokens, answers: Sequence[Answer], stopwatch: Stopwatch
) -> AsyncIterator[None]:
    """Counts the answers to one prompt however they end within the block."""
    without_reason = "failed"
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        without_reason = "cancelled"
        raise
    finally:
        for answer in answers:
            GENERATIONS.labels(without_reason if answer.reason is None else finish_reason.word(answer.reason)).inc()
        TOKENS.labels("output", "text").inc(sum(answer.num_tokens for answer in answers))
        _observe(prompt, stopwatch)


def _observe(prompt: decoder_pb2.PromptTokens, stopwatch: Stopwatch) -> None:
    """What is known of an answer with a first token."""
    timings, trace = stopwatch.timings, exemplar()
    if not timings.first_token_ms:
        return
    QUEUE.observe(timings.queue_ms / 1e3, trace)
    PREFILL.observe(timings.prefill_ms / 1e3, trace)
    FIRST_TOKEN.observe(timings.first_token_ms / 1e3, trace)
    for modality, number in (("text", prompt.text), ("image", prompt.image), ("audio", prompt.audio)):
        TOKENS.labels("input", modality).inc(number)
    CACHED_TOKENS.inc(stopwatch.num_cached_tokens)
    PREEMPTIONS.inc(timings.preemptions)
