"""The front as a process: readiness, workers, settings, what it imports, how it starts and stops."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from audio_encoder.encoder import AudioEncoder
from audio_encoder.settings import AudioSettings
from audio_encoder.whisper import Whisper
from audio_encoder.workers import Workers
from tests.unit.audio_encoder.fakes import InProcessTriton
from trichord.checkpoint.digest import fingerprint
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS
from trichord.errors import SettingsError, UnavailableError
from trichord.model_config import AudioConfig
from trichord.triton.repository import model_repository, read_config
from trichord.v1 import audio_pb2, audio_pb2_grpc, tensor_pb2

SETTINGS = AudioSettings(checkpoint=Path("unused"), triton="unused")


@pytest.fixture
async def triton(encoder: AudioEncoder) -> InProcessTriton:
    return InProcessTriton(encoder)


@pytest.fixture
def whisper(triton: InProcessTriton, audio_config: AudioConfig) -> Whisper:
    return Whisper(triton, PRESETS["tiny"].model_copy(update={"audio": audio_config}), SETTINGS)


async def test_ready_after_one_whole_window(whisper: Whisper, triton: InProcessTriton) -> None:
    triton.is_ready = False
    assert not await whisper.ready()
    assert triton.lengths == []
    triton.is_ready = True
    assert await whisper.ready()
    assert await whisper.ready()
    assert triton.lengths == [32_000]


async def test_warms_up_again_after_triton_was_away(whisper: Whisper, triton: InProcessTriton) -> None:
    assert await whisper.ready()
    triton.is_ready = False
    assert not await whisper.ready()
    triton.is_ready = True
    assert await whisper.ready()
    assert len(triton.lengths) == 2


async def test_not_ready_while_the_warm_up_fails(whisper: Whisper, triton: InProcessTriton) -> None:
    triton.error = UnavailableError("The model server does not answer.")
    with pytest.raises(UnavailableError):
        await whisper.ready()
    triton.error = None
    assert await whisper.ready()


@pytest.mark.parametrize("audio", [{"avg_pool": False}, {"add_bos_eos": False}])
async def test_a_triton_on_another_checkpoint_is_never_ready(
    triton: InProcessTriton, audio_config: AudioConfig, audio: dict[str, bool]
) -> None:
    other = PRESETS["tiny"].model_copy(update={"audio": audio_config.model_copy(update=audio)})
    whisper = Whisper(triton, other, SETTINGS)
    with pytest.raises(UnavailableError, match="another checkpoint"):
        await whisper.ready()


async def test_no_more_threads_than_workers_even_for_callers_that_left() -> None:
    workers, timings = Workers(2), tensor_pb2.EncodeTimings()
    running, most, release, lock = 0, 0, threading.Event(), threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        release.wait(20)
        with lock:
            running -= 1

    calls = [asyncio.create_task(workers.run(work, timings)) for _ in range(6)]
    await asyncio.sleep(0.05)
    for call in calls[:3]:
        call.cancel()
    await asyncio.sleep(0.05)
    release.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    workers.close()
    assert most == 2
    assert [type(result) for result in results] == [asyncio.CancelledError] * 3 + [type(None)] * 3
    assert timings.queue_ms > 0


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICHORD_AUDIO_CHECKPOINT", "some/where")
    monkeypatch.setenv("TRICHORD_AUDIO_TRITON", "127.0.0.1:1")
    settings = AudioSettings.from_environment()
    assert (settings.max_audio_bytes, settings.max_audio_seconds) == (25 * 1024 * 1024, 120.0)
    monkeypatch.setenv("TRICHORD_AUDIO_MAX_AUDIO_SECONDS", "-1")
    with pytest.raises(SettingsError, match="TRICHORD_AUDIO_MAX_AUDIO_SECONDS"):
        AudioSettings.from_environment()


def test_the_front_loads_no_torch_and_no_ffmpeg() -> None:
    code = "import sys, audio_encoder.__main__ as m; sys.exit(int('torch' in sys.modules or 'av' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_model_configuration() -> None:
    config = read_config(model_repository("audio_encoder") / "whisper")
    assert config.max_batch_size == 16
    assert [(tensor.name, tensor.allow_ragged_batch) for tensor in config.input] == [("PCM", True)]
    assert [tensor.name for tensor in config.output] == ["EMBEDDING"]
    policy = config.dynamic_batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert policy.allow_timeout_override


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoints") / "tiny"
    init(PRESETS["tiny"], directory, seed=0)
    return directory


@pytest.fixture
def process(checkpoint: Path) -> Iterator[subprocess.Popen[str]]:
    """``python -m audio_encoder`` whose Triton is not there."""
    variables = {"TRICHORD_AUDIO_CHECKPOINT": str(checkpoint), "TRICHORD_AUDIO_TRITON": "127.0.0.1:1"}
    command = [sys.executable, "-m", "audio_encoder"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | variables, **streams) as started:
        yield started
        started.kill()


async def test_serves_not_ready_without_triton_and_stops_on_sigterm(
    process: subprocess.Popen[str], checkpoint: Path
) -> None:
    assert process.stderr is not None
    port = json.loads(await asyncio.to_thread(process.stderr.readline))["port"]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = audio_pb2_grpc.AudioEncoderServiceStub(channel)
        model = await stub.GetModel(audio_pb2.AudioEncoderServiceGetModelRequest(), timeout=20)
        assert model.fingerprint == fingerprint(checkpoint, "audio", "float32")
        health = health_pb2_grpc.HealthStub(channel)
        service = health_pb2.HealthCheckRequest(service="trichord.v1.AudioEncoderService")
        assert (await health.Check(service, timeout=20)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    process.send_signal(signal.SIGTERM)
    stdout, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert (process.returncode, stdout) == (0, "")


def test_a_broken_checkpoint_stops_it_with_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    variables = {"TRICHORD_AUDIO_CHECKPOINT": str(tmp_path), "TRICHORD_AUDIO_TRITON": "127.0.0.1:1"}
    command = [sys.executable, "-m", "audio_encoder"]
    ended = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert re.fullmatch(r"cannot start: [^\n]+\n", ended.stderr)
