"""What the audio front's spans say of a sound, of one that is none, and of one that arrives in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from audio_encoder.encoder import AudioEncoder
from audio_encoder.front import AudioFront
from audio_encoder.settings import AudioSettings
from audio_encoder.whisper import Whisper
from tests.spans_lab import RecordedSpans
from tests.unit.audio_encoder.fakes import InProcessTriton
from tests.unit.audio_encoder.sounds import s16, tone, wav
from trichord.checkpoint.presets import PRESETS
from trichord.errors import InternalError, MediaError
from trichord.model_config import AudioConfig
from trichord.server import open_channel, start
from trichord.telemetry import names
from trichord.v1 import audio_pb2, audio_pb2_grpc

SERVICE = "trichord.v1.AudioEncoderService"
RATE = 16_000


@pytest.fixture
def triton(encoder: AudioEncoder) -> InProcessTriton:
    return InProcessTriton(encoder)


@pytest.fixture
async def stub(
    audio_config: AudioConfig, triton: Any, tmp_path: Path, recorded_spans: RecordedSpans
) -> AsyncIterator[Any]:
    config = PRESETS["tiny"].model_copy(update={"audio": audio_config})
    settings = AudioSettings(checkpoint=tmp_path, triton="unused", listen="127.0.0.1:0")
    front = AudioFront(settings, config, "f" * 64, Whisper(triton, config, settings))
    running = await start(front.register, settings)
    async with open_channel(f"127.0.0.1:{running.port}", 1 << 26) as channel:
        yield audio_pb2_grpc.AudioEncoderServiceStub(channel)
    await running.server.stop(0)
    front.close()


async def call_is_over(recorded_spans: RecordedSpans, method: str) -> None:
    """The span of a call ends just after its caller has the answer."""
    for _ in range(30_000):
        if recorded_spans.named(f"{SERVICE}/{method}"):
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the call never ended")


async def test_a_sound_is_waited_for_decoded_and_encoded_window_by_window(
    stub: Any, recorded_spans: RecordedSpans
) -> None:
    audio = wav(s16(tone(5.0)))
    embedding = (await stub.EncodeAudio(audio_pb2.EncodeAudioRequest(audio=audio), timeout=30)).embedding
    await call_is_over(recorded_spans, "EncodeAudio")
    rpc, num_windows = f"{SERVICE}/EncodeAudio", len(embedding.windows.tokens)
    assert num_windows == 3
    assert recorded_spans.tree() == sorted(
        [("decode", rpc), ("decode queue", rpc), (rpc, ""), *[("triton whisper", rpc)] * num_windows]
    )
    queue, decode = recorded_spans.one("decode queue"), recorded_spans.one("decode")
    assert queue.end_time == decode.start_time
    for call in recorded_spans.named("triton whisper"):
        assert decode.end_time <= call.start_time
        assert call.kind is SpanKind.CLIENT
        assert call.attributes == {names.MODALITY: "audio", names.UNITS: 1}


async def test_what_is_no_sound_fails_where_it_is_decoded(stub: Any, recorded_spans: RecordedSpans) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.EncodeAudio(audio_pb2.EncodeAudioRequest(audio=b"a secret"), timeout=30)
    await call_is_over(recorded_spans, "EncodeAudio")
    decode = recorded_spans.one("decode")
    assert (decode.attributes[names.ERROR_TYPE], decode.attributes[names.ERROR_ORIGIN]) == (MediaError.reason, True)
    assert recorded_spans.one("decode queue").status.status_code is StatusCode.UNSET
    assert not any("secret" in span.to_json() for span in recorded_spans.ended)


async def test_a_window_that_fails_is_marked(stub: Any, triton: Any, recorded_spans: RecordedSpans) -> None:
    triton.error = InternalError("The model failed on this request.")
    audio = wav(s16(tone(1.0)))
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.EncodeAudio(audio_pb2.EncodeAudioRequest(audio=audio), timeout=30)
    await call_is_over(recorded_spans, "EncodeAudio")
    assert recorded_spans.one("triton whisper").attributes[names.ERROR_TYPE] == InternalError.reason


async def test_live_sound_is_one_span_however_many_pieces(stub: Any, recorded_spans: RecordedSpans) -> None:
    samples = s16(tone(5.0))
    pieces = [bytes(piece) for piece in np.array_split(np.frombuffer(samples, "<i2"), 50)]
    requests = [audio_pb2.StreamAudioRequest(format=audio_pb2.PcmFormat(sample_rate=RATE, channels=1))]
    requests += [audio_pb2.StreamAudioRequest(pcm_s16le=piece) for piece in pieces]
    timings = (await stub.StreamAudio(iter(requests), timeout=30)).timings
    await call_is_over(recorded_spans, "StreamAudio")
    rpc = f"{SERVICE}/StreamAudio"
    assert recorded_spans.tree() == sorted([("receive", rpc), (rpc, ""), *[("triton whisper", rpc)] * 3])
    assert recorded_spans.one("receive").attributes == {
        names.MODALITY: "audio",
        names.DECODE_MS: timings.decode_ms,
        names.DECODE_QUEUE_MS: timings.queue_ms,
    }


async def test_live_sound_that_is_refused_fails_where_it_is_received(stub: Any, recorded_spans: RecordedSpans) -> None:
    requests = [audio_pb2.StreamAudioRequest(pcm_s16le=b"12")]
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.StreamAudio(iter(requests), timeout=30)
    await call_is_over(recorded_spans, "StreamAudio")
    assert recorded_spans.one("receive").attributes[names.ERROR_ORIGIN]
