"""What the vision front's spans say of an image, of one that is none, and of a caller that leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from opentelemetry.trace import SpanKind, StatusCode

from tests.spans_lab import RecordedSpans
from tests.unit.vision_encoder import images
from trichord.errors import MediaError, UnavailableError
from trichord.model_config import ModelConfig
from trichord.server import open_channel, start
from trichord.settings import MAX_MESSAGE_BYTES
from trichord.telemetry import names, spans
from trichord.v1 import vision_pb2, vision_pb2_grpc
from vision_encoder import prepare
from vision_encoder.batch import answer
from vision_encoder.encoder import VisionEncoder
from vision_encoder.front import VisionFront
from vision_encoder.prepare import Preparer
from vision_encoder.settings import VisionSettings

RPC = "trichord.v1.VisionEncoderService/EncodeImage"
SETTINGS = VisionSettings(checkpoint=Path("unused"), triton="unused", listen="127.0.0.1:0", decode_workers=1)


class InProcessTriton:
    """The model, in this process."""

    def __init__(self, encoder: VisionEncoder) -> None:
        self._encoder = encoder
        self.error: Exception | None = None

    async def infer(self, model: str, inputs: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        if self.error:
            raise self.error
        (rows,) = answer(self._encoder, [(torch.tensor(inputs["PATCHES"]), torch.tensor(inputs["TILE_SIZES"]))])
        return {"EMBEDDING": rows[None].numpy()}


@pytest.fixture
def triton(encoder: VisionEncoder) -> InProcessTriton:
    return InProcessTriton(encoder)


@pytest.fixture
async def stub(config: ModelConfig, triton: Any, recorded_spans: RecordedSpans) -> AsyncIterator[Any]:
    preparer = Preparer(config, SETTINGS)
    running = await start(VisionFront(config, "f" * 64, preparer, triton, SETTINGS).register, SETTINGS)
    async with open_channel(f"127.0.0.1:{running.port}", MAX_MESSAGE_BYTES) as channel:
        yield vision_pb2_grpc.VisionEncoderServiceStub(channel)
    await running.server.stop(0)
    preparer.close()


def encode(stub: Any, data: bytes) -> Any:
    return stub.EncodeImage(vision_pb2.EncodeImageRequest(image=data), timeout=30)


async def call_is_over(recorded_spans: RecordedSpans) -> None:
    """The span of a call ends just after its caller has the answer."""
    for _ in range(30_000):
        if recorded_spans.named(RPC):
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the call never ended")


async def test_an_image_is_waited_for_decoded_and_encoded(stub: Any, recorded_spans: RecordedSpans) -> None:
    embedding = (await encode(stub, images.file(images.picture(300, 200)))).embedding
    await call_is_over(recorded_spans)
    assert recorded_spans.tree() == [("decode", RPC), ("decode queue", RPC), (RPC, ""), ("triton siglip", RPC)]
    queue, decode, call = (recorded_spans.one(name) for name in ("decode queue", "decode", "triton siglip"))
    assert queue.end_time == decode.start_time < decode.end_time <= call.start_time
    assert call.kind is SpanKind.CLIENT
    num_tiles = embedding.values.shape[0] // embedding.grid.tokens_per_tile
    assert call.attributes == {names.MODALITY: "image", names.UNITS: num_tiles}
    assert decode.attributes == {names.MODALITY: "image"}


async def test_what_is_no_image_fails_where_it_is_decoded(stub: Any, recorded_spans: RecordedSpans) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await encode(stub, b"a secret")
    await call_is_over(recorded_spans)
    assert recorded_spans.tree() == [("decode", RPC), ("decode queue", RPC), (RPC, "")]
    decode = recorded_spans.one("decode")
    assert (decode.attributes[names.ERROR_TYPE], decode.attributes[names.ERROR_ORIGIN]) == (MediaError.reason, True)
    assert recorded_spans.one("decode queue").status.status_code is StatusCode.UNSET
    assert not any("secret" in span.to_json() for span in recorded_spans.ended)


async def test_a_triton_that_is_away_fails_its_span(stub: Any, triton: Any, recorded_spans: RecordedSpans) -> None:
    triton.error = UnavailableError("It is away.", retry_after_s=1.0)
    with pytest.raises(grpc.aio.AioRpcError):
        await encode(stub, images.file(images.picture(40, 30)))
    await call_is_over(recorded_spans)
    assert recorded_spans.one("triton siglip").attributes[names.ERROR_TYPE] == UnavailableError.reason
    assert recorded_spans.one("decode").status.status_code is StatusCode.UNSET


async def test_who_leaves_while_waiting_is_seen_in_the_queue(
    config: ModelConfig, recorded_spans: RecordedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparer, may_go_on, cut = Preparer(config, SETTINGS), threading.Event(), prepare.cut
    monkeypatch.setattr(prepare, "cut", lambda *arguments: may_go_on.wait(30) and cut(*arguments))
    data = images.file(images.picture(40, 30))

    async def call(name: str) -> None:
        with spans.span(name):
            await preparer.prepare(data)

    first, second = asyncio.create_task(call("first")), asyncio.create_task(call("second"))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    may_go_on.set()
    await first
    preparer.close()
    assert recorded_spans.tree() == [
        ("decode", "first"),
        ("decode queue", "first"),
        ("decode queue", "second"),
        ("first", ""),
        ("second", ""),
    ]
    assert recorded_spans.named("decode queue")[0].attributes[names.ERROR_TYPE] == "CANCELLED"
