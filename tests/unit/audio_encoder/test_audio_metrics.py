"""What the audio front counts, scraped while real calls go through it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from audio_encoder.encoder import AudioEncoder
from audio_encoder.front import AudioFront
from audio_encoder.settings import AudioSettings
from audio_encoder.whisper import Whisper
from tests.metrics_lab import Page
from tests.unit.audio_encoder.fakes import InProcessTriton
from tests.unit.audio_encoder.sounds import s16, tone, wav
from trichord.checkpoint.presets import PRESETS
from trichord.errors import OverloadedError
from trichord.model_config import AudioConfig
from trichord.server import open_channel, start
from trichord.settings import MAX_MESSAGE_BYTES
from trichord.v1 import audio_pb2, audio_pb2_grpc

STAGES = ("trichord_media_decode_seconds", "trichord_media_decode_queue_seconds", "trichord_model_seconds")
SETTINGS = AudioSettings(checkpoint=Path("unused"), triton="unused")


@pytest.fixture
def triton(encoder: AudioEncoder) -> InProcessTriton:
    return InProcessTriton(encoder)


@pytest.fixture
async def stub(audio_config: AudioConfig, triton: InProcessTriton) -> AsyncIterator[Any]:
    config = PRESETS["tiny"].model_copy(update={"audio": audio_config})
    front = AudioFront(SETTINGS, config, "f" * 64, Whisper(triton, config, SETTINGS))
    running = await start(front.register, SETTINGS)
    async with open_channel(f"127.0.0.1:{running.port}", MAX_MESSAGE_BYTES) as channel:
        yield audio_pb2_grpc.AudioEncoderServiceStub(channel)
    await running.server.stop(0)
    front.close()


@pytest.fixture
def told(page_url: str) -> Page:
    return Page(page_url)


async def test_a_sound_is_counted_with_its_windows_seconds_and_times(stub: Any, told: Page) -> None:
    request = audio_pb2.EncodeAudioRequest(audio=wav(s16(tone(4.5))))
    response = await stub.EncodeAudio(request, timeout=30)
    assert told.gained("trichord_encoded_units_total", modality="audio") == len(response.embedding.windows.tokens) == 3
    assert told.gained("trichord_encoded_audio_seconds_total") == pytest.approx(4.5)
    timings = response.timings
    for stage, ms in zip(STAGES, (timings.decode_ms, timings.queue_ms, timings.model_ms), strict=True):
        assert told.gained(f"{stage}_count", modality="audio") == 1
        assert told.gained(f"{stage}_sum", modality="audio") == pytest.approx(ms / 1e3, rel=1e-3, abs=1e-9)


async def test_live_sound_counts_as_one_sound(stub: Any, told: Page) -> None:
    opening = audio_pb2.StreamAudioRequest(format=audio_pb2.PcmFormat(sample_rate=16_000, channels=1))
    samples = s16(tone(2.5))
    chunks = [
        audio_pb2.StreamAudioRequest(pcm_s16le=samples[at : at + 20_000]) for at in range(0, len(samples), 20_000)
    ]
    response = await stub.StreamAudio(iter([opening, *chunks]), timeout=30)
    assert told.gained("trichord_encoded_units_total", modality="audio") == len(response.embedding.windows.tokens) == 2
    assert told.gained("trichord_encoded_audio_seconds_total") == pytest.approx(2.5)
    assert told.gained("trichord_model_seconds_count", modality="audio") == 1


async def test_refusals_are_counted_by_their_reason(stub: Any, told: Page, triton: InProcessTriton) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.EncodeAudio(audio_pb2.EncodeAudioRequest(audio=b"no sound"), timeout=30)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.StreamAudio(iter([audio_pb2.StreamAudioRequest(pcm_s16le=b"12")]), timeout=30)
    triton.error = OverloadedError("The model has enough to do.")
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.EncodeAudio(audio_pb2.EncodeAudioRequest(audio=wav(s16(tone(0.5)))), timeout=30)
    for reason in ("INVALID_MEDIA", "INVALID_REQUEST", "OVERLOADED"):
        assert told.gained("trichord_media_refused_total", modality="audio", error_type=reason) == 1
    assert told.gained("trichord_encoded_audio_seconds_total") == 0
