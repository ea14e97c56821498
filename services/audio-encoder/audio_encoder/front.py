"""The audio encoder's gRPC service: sounds in, embedding rows out.

Every RPC is a few lines over ``sound`` or ``live`` (decoding within limits) and ``Whisper`` (Triton).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
import numpy as np

from audio_encoder import metrics
from audio_encoder.live import LiveSound
from audio_encoder.pcm import Samples
from audio_encoder.settings import AudioSettings
from audio_encoder.sound import Sound, decode
from audio_encoder.tasks import call_tasks
from audio_encoder.whisper import Whisper
from audio_encoder.workers import Workers
from trichord.errors import RequestError
from trichord.media.metrics import counting_refusals
from trichord.media.windows import cut
from trichord.model_config import ModelConfig
from trichord.server import remaining_s
from trichord.telemetry import names, request_line, spans
from trichord.telemetry.turns import turn
from trichord.tensors import Array, to_proto
from trichord.v1 import audio_pb2, audio_pb2_grpc, tensor_pb2

Context = grpc.aio.ServicerContext[Any, Any]


class AudioFront(audio_pb2_grpc.AudioEncoderServiceServicer):
    """Serves one checkpoint's audio tower."""

    def __init__(self, settings: AudioSettings, config: ModelConfig, fingerprint: str, whisper: Whisper) -> None:
        self._settings, self._config, self._fingerprint, self._whisper = settings, config, fingerprint, whisper
        self._workers = Workers(settings.decode_workers)

    def register(self, server: grpc.aio.Server) -> list[str]:
        """Adds the service to a server; see ``trichord.server.Register``."""
        audio_pb2_grpc.add_AudioEncoderServiceServicer_to_server(self, server)
        return [audio_pb2.DESCRIPTOR.services_by_name["AudioEncoderService"].full_name]

    def close(self) -> None:
        """Lets the decoding threads go."""
        self._workers.close()

    async def EncodeAudio(  # noqa: N802, D102
        self, request: audio_pb2.EncodeAudioRequest, context: Context
    ) -> audio_pb2.EncodeAudioResponse:
        timings = tensor_pb2.EncodeTimings()
        request_line.add(operation="encode", model=self._config.model, bytes=len(request.audio))
        async with counting_refusals("audio"), call_tasks(self._remaining_s(context)) as tasks:
            with turn("decode", {names.MODALITY: "audio"}) as begins:
                decode = partial(self._decode, request.audio, begins)
                sound, content_sha256 = await self._workers.run(decode, timings)
            windows = cut(len(sound.samples), self._config.audio)
            sent_s, timeout_s = time.perf_counter(), self._remaining_s(context)
            encodes = [
                tasks.create_task(self._whisper.encode(sound.samples[window.start : window.stop], timeout_s))
                for window in windows
            ]
        timings.model_ms = (time.perf_counter() - sent_s) * 1e3
        embedding = self._embedding([encode.result() for encode in encodes], sound.seconds, content_sha256)
        metrics.encoded(timings, embedding.windows)
        return audio_pb2.EncodeAudioResponse(embedding=embedding, timings=timings)

    async def StreamAudio(  # noqa: N802, D102
        self, request_iterator: AsyncIterator[audio_pb2.StreamAudioRequest], context: Context
    ) -> audio_pb2.StreamAudioResponse:
        timings = tensor_pb2.EncodeTimings()
        request_line.add(operation="encode", model=self._config.model)
        encodes = []
        async with counting_refusals("audio"), call_tasks(self._remaining_s(context)) as tasks:
            with _receiving(timings):
                live = await self._opened(request_iterator)
                async for windows in self._whole_windows(live, request_iterator, timings):
                    encodes += [tasks.create_task(self._timed_encode(window, context, timings)) for window in windows]
        embedding = self._embedding([encode.result() for encode in encodes], live.seconds, live.content_sha256)
        metrics.encoded(timings, embedding.windows)
        return audio_pb2.StreamAudioResponse(embedding=embedding, timings=timings)

    async def GetModel(  # noqa: N802, D102
        self, request: audio_pb2.AudioEncoderServiceGetModelRequest, context: Context
    ) -> audio_pb2.AudioEncoderServiceGetModelResponse:
        return audio_pb2.AudioEncoderServiceGetModelResponse(
            model=self._config.model,
            fingerprint=self._fingerprint,
            hidden_size=self._config.llm.hidden_size,
            max_audio_bytes=self._settings.max_audio_bytes,
            max_audio_seconds=self._settings.max_audio_seconds,
        )

    def _decode(self, audio: bytes, begins: Callable[[], None]) -> tuple[Sound, str]:
        """The sound, and the sha256 (hex) of its file. Runs in a worker."""
        begins()
        return decode(audio, self._settings.limits), hashlib.sha256(audio).hexdigest()

    async def _opened(self, requests: AsyncIterator[audio_pb2.StreamAudioRequest]) -> LiveSound:
        async for request in requests:
            if request.HasField("format"):
                return LiveSound(request.format, self._settings.limits, self._config.audio)
            break
        raise RequestError("The first message of a stream carries the format.", field="format")

    async def _whole_windows(
        self, live: LiveSound, requests: AsyncIterator[audio_pb2.StreamAudioRequest], timings: tensor_pb2.EncodeTimings
    ) -> AsyncIterator[list[Samples]]:
        """Windows as the chunks complete them, then those that the end does."""
        async for request in requests:
            if not request.HasField("pcm_s16le"):
                raise RequestError("Every message but the first carries samples.", field="pcm_s16le")
            yield await self._workers.run(partial(live.push, request.pcm_s16le), timings)
        yield await self._workers.run(live.finish, timings)

    async def _timed_encode(self, window: Samples, context: Context, timings: tensor_pb2.EncodeTimings) -> Array:
        sent_s = time.perf_counter()
        rows = await self._whisper.encode(window, self._remaining_s(context))
        timings.model_ms += (time.perf_counter() - sent_s) * 1e3
        return rows

    def _embedding(self, rows: Sequence[Array], seconds: float, content_sha256: str) -> tensor_pb2.Embedding:
        request_line.add(seconds=round(seconds, 3), windows=len(rows), tokens=sum(len(window) for window in rows))
        return tensor_pb2.Embedding(
            values=to_proto(np.concatenate(rows)),
            fingerprint=self._fingerprint,
            content_sha256=content_sha256,
            modality=tensor_pb2.MODALITY_AUDIO,
            windows=tensor_pb2.AudioWindows(tokens=[len(window) for window in rows], seconds=seconds),
        )

    def _remaining_s(self, context: Context) -> float:
        return remaining_s(context, self._settings.default_deadline_s)


@contextmanager
def _receiving(timings: tensor_pb2.EncodeTimings) -> Iterator[None]:
    """A span around a sound that arrives in pieces, too many for a span each.

    Never the current one: windows are encoded beside it.
    """
    with spans.detached("receive", attributes={names.MODALITY: "audio"}) as begun:
        try:
            yield
        finally:
            begun.set_attributes({names.DECODE_MS: timings.decode_ms, names.DECODE_QUEUE_MS: timings.queue_ms})
