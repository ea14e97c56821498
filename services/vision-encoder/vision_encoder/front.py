"""The vision encoder's gRPC service: an image file in, its embedding rows out.

Every RPC is a few lines over ``Preparer`` (decoding, tiles) and Triton (the model). Knows no torch.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import numpy as np
from opentelemetry.trace import SpanKind

from trichord.errors import DeadlineError
from trichord.media import metrics
from trichord.model_config import ModelConfig
from trichord.served_model import check_rows
from trichord.server import remaining_s
from trichord.telemetry import names, request_line, spans
from trichord.tensors import Array, to_proto
from trichord.triton.client import TritonClient
from trichord.v1 import tensor_pb2, vision_pb2, vision_pb2_grpc
from vision_encoder.prepare import CutImage, Prepared, Preparer
from vision_encoder.settings import VisionSettings

MODEL = "siglip"
"""Name of the model in Triton."""

Context = grpc.aio.ServicerContext[Any, Any]


class VisionFront(vision_pb2_grpc.VisionEncoderServiceServicer):
    """Serves one model."""

    def __init__(
        self, config: ModelConfig, fingerprint: str, preparer: Preparer, triton: TritonClient, settings: VisionSettings
    ) -> None:
        self._config, self._fingerprint = config, fingerprint
        self._preparer, self._triton, self._settings = preparer, triton, settings

    def register(self, server: grpc.aio.Server) -> list[str]:
        """Adds the service to a server; see ``trichord.server.Register``."""
        vision_pb2_grpc.add_VisionEncoderServiceServicer_to_server(self, server)
        return [vision_pb2.DESCRIPTOR.services_by_name["VisionEncoderService"].full_name]

    async def EncodeImage(  # noqa: N802, D102
        self, request: vision_pb2.EncodeImageRequest, context: Context
    ) -> vision_pb2.EncodeImageResponse:
        request_line.add(operation="encode", model=self._config.model, bytes=len(request.image))
        async with metrics.counting_refusals("image"):
            response = await self.encode(request.image, remaining_s(context, self._settings.default_deadline_s))
        rows, grid = response.embedding.values.shape[0], response.embedding.grid
        request_line.add(tokens=rows, tiles=rows // grid.tokens_per_tile)
        metrics.encoded("image", response.timings, num_units=rows // grid.tokens_per_tile)
        return response

    async def GetModel(  # noqa: N802, D102
        self, request: vision_pb2.VisionEncoderServiceGetModelRequest, context: Context
    ) -> vision_pb2.VisionEncoderServiceGetModelResponse:
        return vision_pb2.VisionEncoderServiceGetModelResponse(
            model=self._config.model,
            fingerprint=self._fingerprint,
            hidden_size=self._config.llm.hidden_size,
            max_image_bytes=self._settings.max_image_bytes,
            max_image_pixels=self._settings.max_image_pixels,
            max_aspect_ratio=self._settings.max_aspect_ratio,
        )

    async def encode(self, data: bytes, timeout_s: float) -> vision_pb2.EncodeImageResponse:
        """Encodes a file's image. Raises MediaError, DeadlineError, UnavailableError or InternalError."""
        end_s = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                prepared = await self._preparer.prepare(data)
        except TimeoutError as error:
            raise DeadlineError("The image waited too long to be decoded. Allow a longer deadline.") from error
        started_s = time.perf_counter()
        rows = await self._infer(prepared.image, timeout_s=max(end_s - time.monotonic(), 0.001))
        return self._response(prepared, rows, model_ms=1e3 * (time.perf_counter() - started_s))

    async def _infer(self, image: CutImage, timeout_s: float) -> Array:
        """Rows [tokens, hidden] of an image, checked to be what the model was asked for."""
        tile_sizes = np.array([image.plan.tile_shapes], np.int32)
        inputs: dict[str, Array] = {"PATCHES": image.patches[None], "TILE_SIZES": tile_sizes}
        attributes: spans.Attributes = {names.MODALITY: "image", names.UNITS: len(image.plan.tile_shapes)}
        with spans.span(f"triton {MODEL}", SpanKind.CLIENT, attributes):
            rows = (await self._triton.infer(MODEL, inputs, timeout_s=timeout_s))["EMBEDDING"]
        shape = (image.plan.num_tokens(self._config.resampler.num_queries), self._config.llm.hidden_size)
        return check_rows(rows[0], shape, self._settings, self._config)

    def _response(self, prepared: Prepared, rows: Array, *, model_ms: float) -> vision_pb2.EncodeImageResponse:
        image = prepared.image
        grid = tensor_pb2.ImageGrid(
            cols=image.plan.cols,
            rows=image.plan.rows,
            tokens_per_tile=self._config.resampler.num_queries,
            width=image.size.width,
            height=image.size.height,
        )
        embedding = tensor_pb2.Embedding(
            values=to_proto(rows),
            fingerprint=self._fingerprint,
            content_sha256=prepared.content_sha256,
            modality=tensor_pb2.MODALITY_IMAGE,
            grid=grid,
        )
        timings = tensor_pb2.EncodeTimings(queue_ms=prepared.queue_ms, decode_ms=prepared.decode_ms, model_ms=model_ms)
        return vision_pb2.EncodeImageResponse(embedding=embedding, timings=timings)
