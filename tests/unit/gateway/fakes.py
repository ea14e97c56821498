"""Services for the gateway to talk to: real gRPC servers with deterministic answers; a test may take any step over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import numpy as np

from trichord import server
from trichord.errors import NotFoundError
from trichord.settings import ServiceSettings
from trichord.tensors import to_proto
from trichord.v1 import (
    audio_pb2,
    audio_pb2_grpc,
    decoder_pb2,
    decoder_pb2_grpc,
    tensor_pb2,
    vision_pb2,
    vision_pb2_grpc,
)

HIDDEN, TOKENS_PER_TILE, CONTEXT = 4, 2, 64
TIMINGS = tensor_pb2.EncodeTimings(queue_ms=1, decode_ms=2, model_ms=3)
DECODER_TIMINGS = decoder_pb2.GenerateTimings(tokenize_ms=1, queue_ms=2, prefill_ms=3, first_token_ms=4, decode_ms=5)

Context = grpc.aio.ServicerContext[Any, Any]
Events = AsyncIterator[decoder_pb2.GenerateResponse]


def image_embedding(image: bytes, cols: int = 0, rows: int = 0) -> tensor_pb2.Embedding:
    """What the fake vision encoder makes of an image: every value is the image's first byte."""
    num_rows = TOKENS_PER_TILE * (1 + cols * rows)
    values = to_proto(np.full((num_rows, HIDDEN), image[0], np.float32))
    grid = tensor_pb2.ImageGrid(cols=cols, rows=rows, tokens_per_tile=TOKENS_PER_TILE)
    return tensor_pb2.Embedding(values=values, fingerprint="vision", modality=tensor_pb2.MODALITY_IMAGE, grid=grid)


def audio_embedding(audio: bytes) -> tensor_pb2.Embedding:
    """What the fake audio encoder makes of a sound: two windows, 1.5 seconds a byte."""
    values = to_proto(np.full((5, HIDDEN), audio[0], np.float32))
    windows = tensor_pb2.AudioWindows(tokens=[3, 2], seconds=1.5 * len(audio))
    return tensor_pb2.Embedding(values=values, fingerprint="audio", modality=tensor_pb2.MODALITY_AUDIO, windows=windows)


class Calls:
    """What a service saw, and the step that a test can take over."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.timeouts_s: list[float] = []
        self.metadata: list[dict[str, str]] = []
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.num_running = 0

    @contextlib.contextmanager
    def seen(self, request: Any, context: Context) -> Any:
        """Around a handler: notes the request, and how it ended."""
        self.requests.append(request)
        self.timeouts_s.append(context.time_remaining())
        self.metadata.append(dict(context.invocation_metadata()))  # type: ignore[arg-type]
        self.entered.set()
        self.idle.clear()
        self.num_running += 1
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise
        finally:
            self.num_running -= 1
            if not self.num_running:
                self.idle.set()


async def at_once(content: bytes) -> None:
    """The step of an encoder that nothing holds up."""


class FakeVision(vision_pb2_grpc.VisionEncoderServiceServicer):
    def __init__(self) -> None:
        self.calls = Calls()
        self.step: Callable[[bytes], Awaitable[None]] = at_once

    async def EncodeImage(
        self, request: vision_pb2.EncodeImageRequest, context: Context
    ) -> vision_pb2.EncodeImageResponse:
        with self.calls.seen(request, context):
            await self.step(request.image)
            return vision_pb2.EncodeImageResponse(embedding=image_embedding(request.image), timings=TIMINGS)

    async def GetModel(
        self, request: vision_pb2.VisionEncoderServiceGetModelRequest, context: Context
    ) -> vision_pb2.VisionEncoderServiceGetModelResponse:
        return vision_pb2.VisionEncoderServiceGetModelResponse(model="fake", fingerprint="vision")

    def register(self, grpc_server: grpc.aio.Server) -> list[str]:
        vision_pb2_grpc.add_VisionEncoderServiceServicer_to_server(self, grpc_server)
        return ["trichord.v1.VisionEncoderService"]


class FakeAudio(audio_pb2_grpc.AudioEncoderServiceServicer):
    def __init__(self) -> None:
        self.calls = Calls()
        self.step: Callable[[bytes], Awaitable[None]] = at_once

    async def EncodeAudio(
        self, request: audio_pb2.EncodeAudioRequest, context: Context
    ) -> audio_pb2.EncodeAudioResponse:
        with self.calls.seen(request, context):
            await self.step(request.audio)
            return audio_pb2.EncodeAudioResponse(embedding=audio_embedding(request.audio), timings=TIMINGS)

    async def GetModel(
        self, request: audio_pb2.AudioEncoderServiceGetModelRequest, context: Context
    ) -> audio_pb2.AudioEncoderServiceGetModelResponse:
        return audio_pb2.AudioEncoderServiceGetModelResponse(model="fake", fingerprint="audio")

    def register(self, grpc_server: grpc.aio.Server) -> list[str]:
        audio_pb2_grpc.add_AudioEncoderServiceServicer_to_server(self, grpc_server)
        return ["trichord.v1.AudioEncoderService"]


def chunk(text: str, *token_ids: int) -> decoder_pb2.GenerateResponse:
    return decoder_pb2.GenerateResponse(chunk=decoder_pb2.TokenChunk(text=text, token_ids=token_ids))


STARTED = decoder_pb2.GenerateResponse(started=decoder_pb2.GenerateStarted())
FINISHED = decoder_pb2.GenerateResponse(
    finished=decoder_pb2.GenerateFinished(
        reason=decoder_pb2.FINISH_REASON_END_OF_TURN,
        prompt_tokens=decoder_pb2.PromptTokens(text=7, image=2, audio=5),
        completion_tokens=3,
        timings=DECODER_TIMINGS,
    )
)


async def hello(request: decoder_pb2.GenerateRequest) -> Events:
    """The answer of a decoder that nothing holds up."""
    for event in (STARTED, chunk("Hel", 1), chunk("lo", 2, 3), FINISHED):
        yield event


class FakeDecoder(decoder_pb2_grpc.DecoderServiceServicer):
    """Counts a token for a part, and its rows for a medium."""

    def __init__(self) -> None:
        self.calls, self.counts, self.models = Calls(), Calls(), Calls()
        self.answer: Callable[[decoder_pb2.GenerateRequest], Events] = hello
        self.accepted_fingerprints = ["audio", "vision"]
        self.refusal: Exception | None = None
        """What CountTokens raises."""
        self.target = ""
        """Where it is served, if it is served for a process of its own."""

    async def GetModel(
        self, request: decoder_pb2.DecoderServiceGetModelRequest, context: Context
    ) -> decoder_pb2.DecoderServiceGetModelResponse:
        with self.models.seen(request, context):
            return decoder_pb2.DecoderServiceGetModelResponse(
                model="fake",
                context_tokens=CONTEXT,
                hidden_size=HIDDEN,
                max_images=3,
                max_audios=2,
                tokens_per_tile=TOKENS_PER_TILE,
                accepted_fingerprints=self.accepted_fingerprints,
            )

    async def CountTokens(
        self, request: decoder_pb2.CountTokensRequest, context: Context
    ) -> decoder_pb2.CountTokensResponse:
        with self.counts.seen(request, context):
            _check_model(request.model)
            if self.refusal is not None:
                raise self.refusal
            embeddings = [part.embedding for message in request.messages for part in message.parts]
            prompt = decoder_pb2.PromptTokens(
                text=len(embeddings),
                image=sum(e.grid.tokens_per_tile * (1 + e.grid.cols * e.grid.rows) for e in embeddings),
                audio=sum(sum(e.windows.tokens) for e in embeddings),
            )
            return decoder_pb2.CountTokensResponse(prompt_tokens=prompt, context_tokens=CONTEXT)

    async def Generate(self, request: decoder_pb2.GenerateRequest, context: Context) -> Events:
        with self.calls.seen(request, context):
            _check_model(request.model)
            async for event in self.answer(request):
                yield event

    def register(self, grpc_server: grpc.aio.Server) -> list[str]:
        decoder_pb2_grpc.add_DecoderServiceServicer_to_server(self, grpc_server)
        return ["trichord.v1.DecoderService"]


def _check_model(model: str) -> None:
    if model not in ("", "fake"):
        raise NotFoundError("This decoder serves 'fake' only.", field="model")


Fake = FakeVision | FakeAudio | FakeDecoder


async def serving(fake: Fake, listen: str = "127.0.0.1:0") -> server.RunningServer:
    return await server.start(fake.register, ServiceSettings(listen=listen))


def raising(error: Exception) -> Callable[[Any], Awaitable[None]]:
    """An encoder's step that fails."""

    async def step(content: bytes) -> None:
        raise error

    return step


async def forever(content: bytes) -> None:
    """An encoder's step that never ends."""
    await asyncio.Event().wait()
