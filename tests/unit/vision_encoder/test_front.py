"""The front over real gRPC on loopback; only Triton is replaced, by the same model in this process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import ml_dtypes
import numpy as np
import pytest
import torch
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from tests.unit.vision_encoder import images
from trichord import errors
from trichord.errors import UnavailableError
from trichord.media.slicing import plan_slices
from trichord.model_config import ModelConfig
from trichord.server import RunningServer, open_channel, start
from trichord.settings import MAX_MESSAGE_BYTES
from trichord.status import from_rpc_error
from trichord.tensors import check_embedding, from_proto
from trichord.v1 import tensor_pb2, vision_pb2, vision_pb2_grpc
from vision_encoder.batch import answer
from vision_encoder.encoder import VisionEncoder
from vision_encoder.front import VisionFront
from vision_encoder.prepare import Preparer
from vision_encoder.readiness import readiness
from vision_encoder.settings import VisionSettings

FINGERPRINT = "f" * 64
SETTINGS = VisionSettings(checkpoint=Path("unused"), triton="unused", listen="127.0.0.1:0")


class InProcessTriton:
    """Answers as the model in Triton would; ``fail`` and ``hold`` make it misbehave."""

    def __init__(self, encoder: VisionEncoder) -> None:
        self._encoder = encoder
        self.ready = True
        self.fail: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.num_calls = 0
        self.called = asyncio.Event()
        self.timeout_s = 0.0
        self.dtype = np.dtype(np.float32)

    async def model_ready(self, model: str) -> bool:
        assert model == "siglip"
        return self.ready

    async def infer(self, model: str, inputs: dict[str, np.ndarray], *, timeout_s: float) -> dict[str, np.ndarray]:
        assert model == "siglip"
        assert {name: array.dtype.name for name, array in inputs.items()} == {"PATCHES": "uint8", "TILE_SIZES": "int32"}
        self.num_calls += 1
        self.called.set()
        self.timeout_s = timeout_s
        if self.fail:
            raise self.fail
        if self.hold:
            await self.hold.wait()
        (rows,) = answer(self._encoder, [(torch.tensor(inputs["PATCHES"]), torch.tensor(inputs["TILE_SIZES"]))])
        return {"EMBEDDING": rows[None].numpy().astype(self.dtype)}


@pytest.fixture
def triton(encoder: VisionEncoder) -> InProcessTriton:
    return InProcessTriton(encoder)


@pytest.fixture
async def running(config: ModelConfig, triton: InProcessTriton) -> AsyncIterator[tuple[VisionFront, RunningServer]]:
    preparer = Preparer(config, SETTINGS)
    front = VisionFront(config, FINGERPRINT, preparer, triton, SETTINGS)
    server = await start(front.register, SETTINGS)
    yield front, server
    await server.server.stop(0)
    preparer.close()


@pytest.fixture
async def stub(running) -> AsyncIterator[vision_pb2_grpc.VisionEncoderServiceStub]:
    async with open_channel(f"127.0.0.1:{running[1].port}", MAX_MESSAGE_BYTES) as channel:
        yield vision_pb2_grpc.VisionEncoderServiceStub(channel)


async def encode(stub, data: bytes, timeout: float = 30) -> vision_pb2.EncodeImageResponse:
    return await stub.EncodeImage(vision_pb2.EncodeImageRequest(image=data), timeout=timeout)


async def error_of(stub, data: bytes, timeout: float = 30) -> errors.TrichordError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await encode(stub, data, timeout)
    return from_rpc_error(caught.value, "vision encoder")


@pytest.mark.parametrize(("width", "height"), [(40, 30), (300, 200), (60, 700), (1, 1)])
async def test_encodes_an_image(stub, config: ModelConfig, width: int, height: int) -> None:
    data = images.file(images.picture(width, height))
    response = await encode(stub, data)
    embedding, plan = response.embedding, plan_slices(width, height, config.slicing, 14)
    rows = check_embedding(embedding, hidden_size=config.llm.hidden_size, field="embedding")
    assert len(rows) == plan.num_tokens(16)
    assert (embedding.grid.cols, embedding.grid.rows) == (plan.cols, plan.rows)
    assert (embedding.grid.width, embedding.grid.height, embedding.grid.tokens_per_tile) == (width, height, 16)
    assert embedding.modality == tensor_pb2.MODALITY_IMAGE
    assert embedding.fingerprint == FINGERPRINT
    assert embedding.content_sha256 == hashlib.sha256(data).hexdigest()
    assert response.timings.queue_ms >= 0
    assert response.timings.decode_ms > 0
    assert response.timings.model_ms > 0


async def test_rows_are_those_of_the_model_alone(stub, encoder: VisionEncoder) -> None:
    """A grey image: its pixels need no scaling, so the model's input is known without the front."""
    response = await encode(stub, images.file(images.picture(8, 8).point(lambda _: 99)))
    patches = torch.full((1, 64, 588), 99, dtype=torch.uint8)
    (expected,) = answer(encoder, [(patches, torch.tensor([[[8, 8]]], dtype=torch.int32))])
    torch.testing.assert_close(torch.tensor(from_proto(response.embedding.values, "")), expected)


async def test_images_differ_and_repeat(stub) -> None:
    first, second = images.file(images.picture(seed=1)), images.file(images.picture(seed=2))
    once, again, other = await asyncio.gather(*(encode(stub, data) for data in (first, first, second)))
    assert once.embedding == again.embedding
    assert once.embedding.values != other.embedding.values


async def test_every_good_file_is_encoded(stub) -> None:
    responses = await asyncio.gather(*(encode(stub, data) for data in images.GOOD.values()))
    assert all(response.embedding.values.data for response in responses)


@pytest.mark.parametrize("name", images.BAD)
async def test_bad_media_is_an_invalid_argument_that_names_the_image(stub, triton, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await encode(stub, images.BAD[name])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status, violations = rpc_status.from_call(caught.value), error_details_pb2.BadRequest()
    assert any(detail.Unpack(violations) for detail in status.details)
    assert [violation.field for violation in violations.field_violations] == ["image"]
    assert not any(leak in str(status) for leak in ("0x", "PIL", "BytesIO", "Traceback", "/work", "/tmp", ".py"))
    assert triton.num_calls == 0


async def test_bad_media_harms_nothing_else(stub) -> None:
    files = [*images.BAD.values(), images.PNG, *images.BAD.values(), images.JPEG]
    results = await asyncio.gather(*(encode(stub, data) for data in files), return_exceptions=True)
    answered = [index for index, result in enumerate(results) if isinstance(result, vision_pb2.EncodeImageResponse)]
    assert answered == [len(images.BAD), 2 * len(images.BAD) + 1]


async def test_a_file_over_the_limit_is_refused(stub) -> None:
    error = await error_of(stub, images.PNG + bytes(20 * 1024 * 1024))
    assert isinstance(error, errors.MediaError)
    assert "larger than 20971520 bytes" in error.message


async def test_the_callers_deadline_reaches_the_model(stub, triton) -> None:
    await encode(stub, images.PNG, timeout=20)
    assert 0 < triton.timeout_s < 21  # gRPC rounds a timeout up; the default would be 300


async def test_a_model_that_does_not_answer_is_unavailable(stub, triton) -> None:
    triton.fail = UnavailableError("The model server does not answer. Try again shortly.", retry_after_s=1.0)
    error = await error_of(stub, images.PNG)
    assert isinstance(error, UnavailableError)
    assert error.retry_after_s == 1.0


async def test_an_image_that_waits_past_its_deadline_is_told_so(running, triton) -> None:
    front, _ = running
    with pytest.raises(errors.DeadlineError, match="decoded"):
        await front.encode(images.PNG, timeout_s=0.0)
    assert triton.num_calls == 0


async def test_a_cancelled_call_leaves_the_service_well(stub, triton) -> None:
    triton.hold = asyncio.Event()
    call = stub.EncodeImage(vision_pb2.EncodeImageRequest(image=images.PNG), timeout=30)
    await triton.called.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    triton.hold = None
    assert (await encode(stub, images.PNG)).embedding.values.data


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.int32])
async def test_rows_of_another_type_than_the_fingerprint_says_never_leave(stub, triton, dtype) -> None:
    triton.dtype = np.dtype(dtype)
    assert isinstance(await error_of(stub, images.PNG), errors.UnavailableError)


async def test_bfloat16_rows_travel_as_they_are(config: ModelConfig, triton) -> None:
    preparer, settings = Preparer(config, SETTINGS), SETTINGS.model_copy(update={"dtype": "bfloat16"})
    front = VisionFront(config, FINGERPRINT, preparer, triton, settings)
    triton.dtype = np.dtype(ml_dtypes.bfloat16)
    values = (await front.encode(images.PNG, timeout_s=30)).embedding.values
    preparer.close()
    assert values.dtype == tensor_pb2.DATA_TYPE_BFLOAT16
    assert len(values.data) == 2 * 16 * 64


async def test_get_model_tells_the_limits_while_the_model_loads(stub, triton, config: ModelConfig) -> None:
    triton.ready = False
    model = await stub.GetModel(vision_pb2.VisionEncoderServiceGetModelRequest(), timeout=30)
    assert (model.model, model.fingerprint, model.hidden_size) == ("tiny", FINGERPRINT, config.llm.hidden_size)
    assert (model.max_image_bytes, model.max_image_pixels, model.max_aspect_ratio) == (20 * 1024**2, 24_000_000, 100)


async def test_healthy_once_an_image_was_encoded(running, triton) -> None:
    front, server = running
    probe = readiness(front, triton)
    triton.ready = False
    assert not await probe()
    triton.ready, triton.fail = True, UnavailableError("not yet")
    with pytest.raises(UnavailableError):
        await probe()
    triton.fail = None
    assert await probe()
    calls = triton.num_calls
    assert await probe()
    assert triton.num_calls == calls  # the image is encoded once, not at every probe
    watching = asyncio.create_task(server.watch(probe))
    request = health_pb2.HealthCheckRequest(service="trichord.v1.VisionEncoderService")
    async with open_channel(f"127.0.0.1:{server.port}", MAX_MESSAGE_BYTES) as channel:
        async for response in health_pb2_grpc.HealthStub(channel).Watch(request, timeout=30):
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                break
    watching.cancel()
    assert response.status == health_pb2.HealthCheckResponse.SERVING
