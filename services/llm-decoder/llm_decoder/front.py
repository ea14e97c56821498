"""The decoder's gRPC service: conversations in, streamed text out.

Every RPC is a few lines over ``Intake`` (checks, template, tokenizer), ``EngineClient`` (Triton) and ``Answer`` (text).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import grpc
import structlog

from llm_decoder import answer_spans, front_metrics
from llm_decoder.answer import Answer
from llm_decoder.engine_client import MODEL, EngineClient
from llm_decoder.intake import Intake, Work
from llm_decoder.prompt import PromptTokens
from llm_decoder.stopwatch import Stopwatch
from llm_decoder.vocabulary import Vocabulary
from trichord import request_id
from trichord.errors import InternalError
from trichord.server import remaining_s
from trichord.telemetry import request_line, spans
from trichord.v1 import decoder_pb2, decoder_pb2_grpc

log = structlog.get_logger(__name__)

Request = TypeVar("Request", decoder_pb2.GenerateRequest, decoder_pb2.CountTokensRequest)
Result = TypeVar("Result")
Context = grpc.aio.ServicerContext[Any, Any]

INLINE_BYTES = 8 * 1024
"""Requests up to this size are prepared at once, in well under a millisecond; larger ones, and schemas, in a thread."""


class DecoderFront(decoder_pb2_grpc.DecoderServiceServicer):
    """Serves one model."""

    def __init__(
        self, intake: Intake, vocabulary: Vocabulary, engine: EngineClient, *, default_deadline_s: float
    ) -> None:
        self._intake, self._vocabulary, self._engine = intake, vocabulary, engine
        self._default_deadline_s = default_deadline_s

    def register(self, server: grpc.aio.Server) -> list[str]:
        """Adds the service to a server; see ``trichord.server.Register``."""
        decoder_pb2_grpc.add_DecoderServiceServicer_to_server(self, server)
        return [decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"].full_name]

    async def Generate(  # noqa: N802, D102
        self, request: decoder_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[decoder_pb2.GenerateResponse]:
        stopwatch = Stopwatch()
        timeout_s = remaining_s(context, self._default_deadline_s)
        request_id.check(request.request_id)
        with spans.span("prepare") as preparing:
            work = await _prepared(self._intake.admit, request)
            preparing.set_attributes(answer_spans.of_prompt(work.prompt))
        stopwatch.tokenized()
        prompt_tokens = _counts(work.prompt)
        name = request.request_id or request_id.new()
        _begin_line(name, self._intake.config.model, prompt_tokens)
        started = decoder_pb2.GenerateStarted(request_id=name, prompt_tokens=prompt_tokens)
        yield decoder_pb2.GenerateResponse(started=started)
        answers = [
            Answer(self._vocabulary, self._intake.template.stop_ids, work.sampling, sample)
            for sample in range(work.sampling.num_samples)
        ]
        try:
            async with (
                front_metrics.counted(prompt_tokens, answers, stopwatch),
                contextlib.aclosing(self._chunks(work, answers, stopwatch, timeout_s)) as chunks,
            ):
                async for chunk in chunks:
                    yield decoder_pb2.GenerateResponse(chunk=chunk)
        finally:
            _end_line(answers, stopwatch)
        yield decoder_pb2.GenerateResponse(finished=_finished(answers, prompt_tokens, stopwatch))

    async def _chunks(
        self, work: Work, answers: Sequence[Answer], stopwatch: Stopwatch, timeout_s: float
    ) -> AsyncGenerator[decoder_pb2.TokenChunk, None]:
        """The chunks of the answers, until each has a reason to end; leaving early frees the sequences."""
        with answer_spans.of_stream(f"triton {MODEL}", answers, stopwatch) as begun:
            stream = self._engine.generate(
                work,
                timeout_s=timeout_s - stopwatch.elapsed_s,
                is_over=lambda sample: answers[sample].reason is not None,
                caller=begun,
            )
            async with contextlib.aclosing(stream) as outputs:
                async for output in outputs:
                    stopwatch.took(output)
                    chunk = answers[output.sample].take(output)
                    if chunk.text or chunk.token_ids:
                        yield chunk
                    if all(answer.reason is not None for answer in answers):
                        return
            raise InternalError("The engine ended an answer without saying why.")

    async def CountTokens(  # noqa: N802, D102
        self, request: decoder_pb2.CountTokensRequest, context: Context
    ) -> decoder_pb2.CountTokensResponse:
        with spans.span("prepare") as preparing:
            prompt = await _prepared(self._intake.count, request)
            preparing.set_attributes(answer_spans.of_prompt(prompt))
        return decoder_pb2.CountTokensResponse(
            prompt_tokens=_counts(prompt), context_tokens=self._intake.limits.context_tokens
        )

    async def GetModel(  # noqa: N802, D102
        self, request: decoder_pb2.DecoderServiceGetModelRequest, context: Context
    ) -> decoder_pb2.DecoderServiceGetModelResponse:
        config, limits = self._intake.config, self._intake.limits
        return decoder_pb2.DecoderServiceGetModelResponse(
            model=config.model,
            context_tokens=limits.context_tokens,
            hidden_size=config.llm.hidden_size,
            accepted_fingerprints=sorted(self._intake.media.accepted_fingerprints),
            max_images=limits.max_images,
            max_audios=limits.max_audios,
            tokens_per_tile=limits.tokens_per_tile,
        )


async def _prepared(prepare: Callable[[Request], Result], request: Request) -> Result:
    """Prepares a request without holding up other streams for long."""
    if request.ByteSize() <= INLINE_BYTES and not request.sampling.response_format.json_schema:
        return prepare(request)
    return await asyncio.to_thread(prepare, request)


def _begin_line(name: str, model: str, prompt_tokens: decoder_pb2.PromptTokens) -> None:
    num_tokens = prompt_tokens.text + prompt_tokens.image + prompt_tokens.audio
    request_line.add(operation="chat", request_id=name, model=model, input_tokens=num_tokens)


def _end_line(answers: Sequence[Answer], stopwatch: Stopwatch) -> None:
    """Tells the log how far an answer came, one that broke off too."""
    timings = stopwatch.timings
    request_line.add(
        output_tokens=sum(answer.num_tokens for answer in answers),
        cached_tokens=stopwatch.num_cached_tokens,
        queue_ms=round(timings.queue_ms, 1),
        ttft_ms=round(timings.first_token_ms, 1),
    )


def _finished(
    answers: Sequence[Answer], prompt_tokens: decoder_pb2.PromptTokens, stopwatch: Stopwatch
) -> decoder_pb2.GenerateFinished:
    samples = [
        decoder_pb2.SampleFinished(reason=answer.reason, completion_tokens=answer.num_tokens)  # type: ignore[arg-type]
        for answer in answers
    ]
    return decoder_pb2.GenerateFinished(
        reason=samples[0].reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=sum(sample.completion_tokens for sample in samples),
        timings=stopwatch.timings,
        samples=samples,
        cached_tokens=stopwatch.num_cached_tokens,
    )


def _counts(prompt: PromptTokens) -> decoder_pb2.PromptTokens:
    return decoder_pb2.PromptTokens(
        text=prompt.num_text_tokens, image=prompt.num_image_tokens, audio=prompt.num_audio_tokens
    )
