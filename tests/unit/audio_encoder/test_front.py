"""The front over real gRPC on loopback; only Triton is replaced, by the same tower in this process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from audio_encoder.encoder import AudioEncoder
from audio_encoder.front import AudioFront
from audio_encoder.settings import AudioSettings
from audio_encoder.whisper import Whisper
from tests.unit.audio_encoder.fakes import InProcessTriton
from tests.unit.audio_encoder.sounds import file_of, muxed, s16, silent_film, tone, wav, with_flac_length
from trichord.checkpoint.presets import PRESETS
from trichord.errors import OverloadedError, UnavailableError
from trichord.model_config import AudioConfig, ModelConfig
from trichord.server import open_channel, start
from trichord.status import from_rpc_error
from trichord.tensors import from_proto
from trichord.v1 import audio_pb2, audio_pb2_grpc, tensor_pb2

FINGERPRINT = "f" * 64
LIMIT_S = 12.0
MESSAGE_BYTES = 64 * 1024 * 1024


@dataclass
class Running:
    """A front that serves, and its Triton."""

    stub: Any
    triton: InProcessTriton


@pytest.fixture
def config(audio_config: AudioConfig) -> ModelConfig:
    return PRESETS["tiny"].model_copy(update={"audio": audio_config})


@pytest.fixture
def changes() -> dict[str, object]:
    """Settings that a test changes."""
    return {}


@pytest.fixture
async def running(
    config: ModelConfig, encoder: AudioEncoder, changes: dict[str, object], tmp_path: Path
) -> AsyncIterator[Running]:
    settings = AudioSettings(checkpoint=tmp_path, triton="unused", max_audio_seconds=LIMIT_S, **changes)
    triton = InProcessTriton(encoder)
    front = AudioFront(settings, config, FINGERPRINT, Whisper(triton, config, settings))
    server = await start(front.register, settings)
    async with open_channel(f"127.0.0.1:{server.port}", MESSAGE_BYTES) as channel:
        yield Running(audio_pb2_grpc.AudioEncoderServiceStub(channel), triton)
    await server.server.stop(None)
    front.close()


async def encode(running: Running, audio: bytes) -> Any:
    return await running.stub.EncodeAudio(audio_pb2.EncodeAudioRequest(audio=audio), timeout=30)


async def stream(running: Running, rate: int, channels: int, chunks: Sequence[bytes]) -> Any:
    pcm_format = audio_pb2.PcmFormat(sample_rate=rate, channels=channels)
    requests = [audio_pb2.StreamAudioRequest(format=pcm_format)]
    requests += [audio_pb2.StreamAudioRequest(pcm_s16le=chunk) for chunk in chunks]
    return await running.stub.StreamAudio(iter(requests), timeout=30)


def rows(response: Any) -> npt.NDArray[np.float32]:
    return from_proto(response.embedding.values, "values")


def encoded(encoder: AudioEncoder, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The rows of each two-second window, encoded one by one."""
    windows = [samples[start : start + 32_000] for start in range(0, len(samples), 32_000)]
    return np.concatenate([encoder.encode([torch.from_numpy(window)])[0].numpy() for window in windows])


async def failure(call: Awaitable[Message], code: grpc.StatusCode) -> tuple[str, str]:
    """Message and field of the error that a call must end with; nothing of ours or a library's may leak."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    assert error.code() is code, error.details()
    everything = f"{error.details()} {error.trailing_metadata()}".replace("MP4/M4A", "")
    for leak in ("0x", "soundfile", "Error opening", "libsndfile", "BytesIO", "Traceback", "pytest-", ".py"):
        assert leak not in everything
    info = error_details_pb2.ErrorInfo()
    for detail in rpc_status.from_call(error).details:
        detail.Unpack(info)
    return error.details(), info.metadata["field"]


def shifting_tone(seconds: float, rate: int = 16_000, channels: int = 1) -> npt.NDArray[np.float32]:
    """A tone that grows louder, so that no two windows are alike."""
    frames = tone(seconds, rate, channels)
    return frames * np.linspace(0.1, 1.0, len(frames), dtype=np.float32)[:, np.newaxis]


async def test_one_sound(running: Running, encoder: AudioEncoder) -> None:
    audio = wav(s16(tone(1.0)))
    response = await encode(running, audio)
    samples = np.frombuffer(s16(tone(1.0)), "<i2").astype(np.float32) / 32_768
    np.testing.assert_allclose(rows(response), encoded(encoder, samples), rtol=1e-5, atol=1e-5)
    embedding = response.embedding
    assert embedding.fingerprint == FINGERPRINT
    assert embedding.content_sha256 == hashlib.sha256(audio).hexdigest()
    assert embedding.modality == tensor_pb2.MODALITY_AUDIO
    assert list(embedding.windows.tokens) == [27]
    assert embedding.windows.seconds == 1.0
    assert response.timings.queue_ms >= 0
    assert min(response.timings.decode_ms, response.timings.model_ms) > 0


async def test_a_long_sound_is_its_windows_in_order(running: Running, encoder: AudioEncoder) -> None:
    frames = shifting_tone(5.5)
    response = await encode(running, file_of(frames, 16_000, "WAV", "FLOAT"))
    np.testing.assert_allclose(rows(response), encoded(encoder, frames[:, 0]), rtol=1e-5, atol=1e-5)
    assert list(response.embedding.windows.tokens) == [52, 52, 39]
    assert response.embedding.windows.seconds == 5.5
    assert sorted(running.triton.lengths) == [24_000, 32_000, 32_000]


async def test_a_tail_under_30_ms_is_dropped(running: Running) -> None:
    response = await encode(running, wav(s16(tone(2.029))))
    assert list(response.embedding.windows.tokens) == [52]
    assert response.embedding.windows.seconds == pytest.approx(2.029)


@pytest.mark.parametrize(
    ("container", "codec"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")]
)
async def test_compressed_sounds_come_near_the_wav(running: Running, container: str, codec: str) -> None:
    expected = rows(await encode(running, wav(s16(tone(1.0, 48_000)), rate=48_000)))
    actual = rows(await encode(running, file_of(tone(1.0, 48_000), 48_000, container, codec)))
    assert np.corrcoef(actual.ravel(), expected[: len(actual)].ravel())[0, 1] > 0.9


@pytest.mark.parametrize("changes", [{"dtype": "bfloat16"}])
async def test_bfloat16_rows_stay_bfloat16(running: Running) -> None:
    running.triton.dtype = np.dtype(ml_dtypes.bfloat16)
    response = await encode(running, wav(s16(tone(2.5))))
    assert response.embedding.values.dtype == tensor_pb2.DATA_TYPE_BFLOAT16
    assert rows(response).shape == (52 + 14, 64)


async def test_rows_of_another_type_than_the_fingerprint_says_never_leave(running: Running) -> None:
    running.triton.dtype = np.dtype(ml_dtypes.bfloat16)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await encode(running, wav(s16(tone(0.5))))
    assert isinstance(from_rpc_error(caught.value, "audio encoder"), UnavailableError)


FLAC = file_of(tone(1.0), 16_000, "FLAC")
BAD_SOUNDS = {
    "empty": b"",
    "text": b"not a sound at all" * 10,
    "a picture": b"\x89PNG\r\n\x1a\n" + b"\x00" * 100,
    "only a header": b"RIFF\x00\x00\x00\x00WAVE",
    "no samples": wav(b""),
    "29 ms": wav(s16(tone(0.029))),
    "truncated WAV": wav(s16(tone(1.0)))[:10_000],
    "truncated FLAC": FLAC[: len(FLAC) // 2],
    "truncated MP3": file_of(tone(1.0), 16_000, "MP3", "MPEG_LAYER_III")[:1_200],
    "truncated MP4": muxed(tone(1.0, 48_000), 48_000, "mp4", "aac")[:4_000],
    "damaged FLAC": FLAC[:200] + b"\xff" * 200 + FLAC[400:],
    "AIFF": file_of(tone(1.0), 16_000, "AIFF"),
    "a silent film": silent_film(),
    "too long": wav(s16(tone(LIMIT_S + 0.1))),
    "too long by its header": with_flac_length(FLAC, 16_000 * 3_600),
    "a bomb": with_flac_length(file_of(np.zeros((16_000 * 600, 1), np.float32), 16_000, "FLAC"), 0),
    "forged rate": wav(s16(tone(1.0)), rate=655_350),
    "nine channels": file_of(tone(0.5, channels=9), 16_000, "WAV"),
    "not finite": file_of(np.full((8_000, 1), np.nan, np.float32), 16_000, "WAV", "FLOAT"),
}


@pytest.mark.parametrize("name", BAD_SOUNDS)
async def test_bad_sounds(running: Running, name: str) -> None:
    message, field = await failure(encode(running, BAD_SOUNDS[name]), grpc.StatusCode.INVALID_ARGUMENT)
    assert field == "audio"
    assert message.startswith("The sound is")
    assert running.triton.lengths == []
    assert len(rows(await encode(running, wav(s16(tone(0.5)))))) == 14


@pytest.mark.parametrize("changes", [{"max_audio_bytes": 20_000}])
async def test_a_file_over_the_limit(running: Running) -> None:
    message, field = await failure(encode(running, wav(s16(tone(1.0)))), grpc.StatusCode.INVALID_ARGUMENT)
    assert field == "audio"
    assert "20000 bytes" in message


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2), (11_025, 1), (8_000, 3)])
@pytest.mark.parametrize("chunk_ms", [20, 700, 60_000])
async def test_a_stream_equals_the_file(running: Running, rate: int, channels: int, chunk_ms: int) -> None:
    pcm = s16(shifting_tone(4.7, rate, channels))
    chunk_bytes = rate * chunk_ms // 1_000 * channels * 2
    chunks = [pcm[start : start + chunk_bytes] for start in range(0, len(pcm), chunk_bytes)]
    streamed = await stream(running, rate, channels, chunks)
    filed = await encode(running, wav(pcm, rate=rate, channels=channels))
    np.testing.assert_array_equal(rows(streamed), rows(filed))
    assert streamed.embedding.windows == filed.embedding.windows
    assert streamed.embedding.content_sha256 == hashlib.sha256(pcm).hexdigest()
    assert streamed.embedding.fingerprint == FINGERPRINT
    assert min(streamed.timings.decode_ms, streamed.timings.model_ms) > 0


async def test_a_window_is_encoded_while_the_stream_goes_on(running: Running) -> None:
    call = running.stub.StreamAudio(timeout=30)
    await call.write(audio_pb2.StreamAudioRequest(format=audio_pb2.PcmFormat(sample_rate=16_000, channels=1)))
    await call.write(audio_pb2.StreamAudioRequest(pcm_s16le=s16(tone(2.5))))
    await asyncio.wait_for(running.triton.arrived.wait(), 20)
    assert running.triton.lengths == [32_000]
    await call.write(audio_pb2.StreamAudioRequest(pcm_s16le=s16(tone(0.5))))
    await call.done_writing()
    assert list((await call).embedding.windows.tokens) == [52, 27]


PCM_16K = audio_pb2.StreamAudioRequest(format=audio_pb2.PcmFormat(sample_rate=16_000, channels=1))
STEREO = audio_pb2.StreamAudioRequest(format=audio_pb2.PcmFormat(sample_rate=16_000, channels=2))
CHUNK = audio_pb2.StreamAudioRequest(pcm_s16le=s16(tone(0.1)))


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "format"),
        ([CHUNK], "format"),
        ([audio_pb2.StreamAudioRequest()], "format"),
        ([PCM_16K, CHUNK, PCM_16K], "pcm_s16le"),
        ([PCM_16K, CHUNK, audio_pb2.StreamAudioRequest()], "pcm_s16le"),
        ([PCM_16K], "pcm_s16le"),
        ([PCM_16K, audio_pb2.StreamAudioRequest(pcm_s16le=b"")], "pcm_s16le"),
        ([PCM_16K, audio_pb2.StreamAudioRequest(pcm_s16le=s16(tone(0.02)))], "pcm_s16le"),
        ([PCM_16K, audio_pb2.StreamAudioRequest(pcm_s16le=b"\x00")], "pcm_s16le"),
        ([STEREO, audio_pb2.StreamAudioRequest(pcm_s16le=b"\x00" * 402)], "pcm_s16le"),
        ([audio_pb2.StreamAudioRequest(format=audio_pb2.PcmFormat())], "format"),
        ([audio_pb2.StreamAudioRequest(format=audio_pb2.PcmFormat(sample_rate=-1, channels=1))], "format"),
        ([audio_pb2.StreamAudioRequest(format=audio_pb2.PcmFormat(sample_rate=655_350, channels=1))], "format"),
        ([audio_pb2.StreamAudioRequest(format=audio_pb2.PcmFormat(sample_rate=16_000, channels=9))], "format"),
        ([audio_pb2.StreamAudioRequest(format=audio_pb2.PcmFormat(sample_rate=16_000, channels=-1))], "format"),
    ],
)
async def test_bad_streams(running: Running, requests: list[audio_pb2.StreamAudioRequest], field: str) -> None:
    call = running.stub.StreamAudio(iter(requests), timeout=30)
    _, named = await failure(call, grpc.StatusCode.INVALID_ARGUMENT)
    assert named == field


async def test_a_stream_ends_at_the_chunk_that_is_too_long(running: Running) -> None:
    call = running.stub.StreamAudio(timeout=30)
    await call.write(PCM_16K)
    for _ in range(int(LIMIT_S)):
        await call.write(audio_pb2.StreamAudioRequest(pcm_s16le=s16(tone(1.0))))
    await call.write(CHUNK)  # never half-closed: the server must end it
    message, field = await failure(call, grpc.StatusCode.INVALID_ARGUMENT)
    assert field == "pcm_s16le"
    assert "longer than 12 seconds" in message


@pytest.mark.parametrize("changes", [{"max_decoded_bytes": 200_000}])
async def test_a_stream_ends_at_the_chunk_that_breaks_the_budget(running: Running) -> None:
    message, field = await failure(stream(running, 96_000, 8, [b"\x00" * 64_000] * 2), grpc.StatusCode.INVALID_ARGUMENT)
    assert field == "pcm_s16le"
    assert "200000 bytes" in message


async def test_the_models_failure_is_the_calls(running: Running) -> None:
    running.triton.error = OverloadedError("The model's queue is full.", retry_after_s=1.0)
    message, _ = await failure(encode(running, wav(s16(tone(5.0)))), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert message == "The model's queue is full."


async def test_the_models_failure_ends_a_stream_at_once(running: Running) -> None:
    running.triton.error = OverloadedError("The model's queue is full.", retry_after_s=1.0)
    call = running.stub.StreamAudio(timeout=30)
    await call.write(PCM_16K)
    await call.write(audio_pb2.StreamAudioRequest(pcm_s16le=s16(tone(2.0))))  # never half-closed
    message, _ = await failure(call, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert message == "The model's queue is full."


@pytest.mark.parametrize("changes", [{"default_deadline_s": 0.3}])
async def test_without_a_deadline_the_front_sets_one(running: Running) -> None:
    running.triton.hangs = True
    request = audio_pb2.EncodeAudioRequest(audio=wav(s16(tone(5.0))))
    await failure(running.stub.EncodeAudio(request), grpc.StatusCode.DEADLINE_EXCEEDED)
    for _ in range(3):
        await asyncio.wait_for(running.triton.cancelled.acquire(), 20)
    call = running.stub.StreamAudio()
    await call.write(PCM_16K)
    await failure(call, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_leaving_cancels_every_window(running: Running) -> None:
    running.triton.hangs = True
    call = running.stub.EncodeAudio(audio_pb2.EncodeAudioRequest(audio=wav(s16(tone(5.0)))))
    await asyncio.wait_for(running.triton.arrived.wait(), 20)
    call.cancel()
    for _ in range(3):
        await asyncio.wait_for(running.triton.cancelled.acquire(), 20)
    assert call.cancelled()


async def test_get_model_answers_while_the_model_loads(running: Running) -> None:
    running.triton.is_ready = False
    response = await running.stub.GetModel(audio_pb2.AudioEncoderServiceGetModelRequest(), timeout=30)
    assert response.model == "tiny"
    assert response.fingerprint == FINGERPRINT
    assert response.hidden_size == 64
    assert response.max_audio_bytes == 25 * 1024 * 1024
    assert response.max_audio_seconds == LIMIT_S
