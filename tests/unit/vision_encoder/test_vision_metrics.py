"""What the vision front counts, scraped while real calls go through it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from tests.metrics_lab import Page
from tests.spans_lab import RecordedSpans
from tests.unit.vision_encoder import images
from tests.unit.vision_encoder.test_front import FINGERPRINT, SETTINGS, InProcessTriton, encode
from trichord.errors import OverloadedError
from trichord.media.slicing import plan_slices
from trichord.model_config import ModelConfig
from trichord.server import open_channel, start
from trichord.settings import MAX_MESSAGE_BYTES
from trichord.telemetry import spans
from trichord.v1 import vision_pb2, vision_pb2_grpc
from vision_encoder.encoder import VisionEncoder
from vision_encoder.front import VisionFront
from vision_encoder.prepare import Preparer

STAGES = ("trichord_media_decode_seconds", "trichord_media_decode_queue_seconds", "trichord_model_seconds")


@pytest.fixture
def triton(encoder: VisionEncoder) -> InProcessTriton:
    return InProcessTriton(encoder)


@pytest.fixture
async def stub(config: ModelConfig, triton: InProcessTriton) -> AsyncIterator[vision_pb2_grpc.VisionEncoderServiceStub]:
    preparer = Preparer(config, SETTINGS)
    running = await start(VisionFront(config, FINGERPRINT, preparer, triton, SETTINGS).register, SETTINGS)
    async with open_channel(f"127.0.0.1:{running.port}", MAX_MESSAGE_BYTES) as channel:
        yield vision_pb2_grpc.VisionEncoderServiceStub(channel)
    await running.server.stop(0)
    preparer.close()


@pytest.fixture
def told(page_url: str) -> Page:
    return Page(page_url)


async def test_an_image_is_counted_with_its_tiles_and_its_times(stub, told: Page, config: ModelConfig) -> None:
    response = await encode(stub, images.file(images.picture(300, 200)))
    plan = plan_slices(300, 200, config.slicing, 14)
    assert told.gained("trichord_encoded_units_total", modality="image") == len(plan.tile_shapes) > 1
    timings = response.timings
    for stage, ms in zip(STAGES, (timings.decode_ms, timings.queue_ms, timings.model_ms), strict=True):
        assert told.gained(f"{stage}_count", modality="image") == 1
        assert told.gained(f"{stage}_sum", modality="image") == pytest.approx(ms / 1e3, rel=1e-3, abs=1e-9)
    assert told.gained("trichord_encoded_units_total", modality="audio") == 0


async def test_refusals_are_counted_by_their_reason(stub, told: Page, triton: InProcessTriton) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await encode(stub, b"no image")
    triton.fail = OverloadedError("The model has enough to do.")
    with pytest.raises(grpc.aio.AioRpcError):
        await encode(stub, images.file(images.picture(8, 8)))
    assert told.gained("trichord_media_refused_total", modality="image", error_type="INVALID_MEDIA") == 1
    assert told.gained("trichord_media_refused_total", modality="image", error_type="OVERLOADED") == 1
    assert told.gained("trichord_encoded_units_total", modality="image") == 0
    assert told.gained("trichord_model_seconds_count", modality="image") == 0


async def test_a_time_leads_to_the_trace_that_it_was_measured_in(
    stub, told: Page, recorded_spans: RecordedSpans
) -> None:
    with spans.span("asking"):
        trace_id = spans.current_trace_id()
        request = vision_pb2.EncodeImageRequest(image=images.file(images.picture(9, 9)))
        await stub.EncodeImage(request, metadata=spans.outbound(), timeout=30)
    for stage in STAGES:
        assert trace_id in told.trace_ids(stage)
