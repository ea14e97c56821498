"""The services behind the gateway, each as the few calls that the gateway makes.

Turns their failures into errors of ours that name the part as the gateway's caller knows it. Knows nothing of requests
as a whole.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol

import grpc

from gateway.conversation import Item
from trichord.server import open_channel
from trichord.status import from_rpc_error
from trichord.v1 import (
    audio_pb2,
    audio_pb2_grpc,
    decoder_pb2,
    decoder_pb2_grpc,
    tensor_pb2,
    vision_pb2,
    vision_pb2_grpc,
)

Metadata = Sequence[tuple[str, str]]


class Encoded(NamedTuple):
    """An item's embedding and the stages that made it."""

    item: Item
    embedding: tensor_pb2.Embedding
    timings: tensor_pb2.EncodeTimings
    round_trip_ms: float


class Encoder(Protocol):
    """Encodes the media of one modality."""

    async def encode(self, item: Item, timeout_s: float, metadata: Metadata) -> Encoded:
        """One item. Raises a TrichordError whose field is the item's."""

    async def close(self) -> None:
        """Closes the connection."""


class VisionEncoder:
    """The vision-encoder service."""

    def __init__(self, target: str, max_message_bytes: int) -> None:
        self._channel = open_channel(target, max_message_bytes)
        self._stub = vision_pb2_grpc.VisionEncoderServiceStub(self._channel)

    async def encode(self, item: Item, timeout_s: float, metadata: Metadata) -> Encoded:
        """See ``Encoder``."""
        started = time.perf_counter()
        request = vision_pb2.EncodeImageRequest(image=item.content)
        try:
            response = await self._stub.EncodeImage(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "vision encoder").at(item.field) from error
        return Encoded(item, response.embedding, response.timings, _ms_since(started))

    async def close(self) -> None:
        """See ``Encoder``."""
        await self._channel.close()


class AudioEncoder:
    """The audio-encoder service."""

    def __init__(self, target: str, max_message_bytes: int) -> None:
        self._channel = open_channel(target, max_message_bytes)
        self._stub = audio_pb2_grpc.AudioEncoderServiceStub(self._channel)

    async def encode(self, item: Item, timeout_s: float, metadata: Metadata) -> Encoded:
        """See ``Encoder``."""
        started = time.perf_counter()
        request = audio_pb2.EncodeAudioRequest(audio=item.content)
        try:
            response = await self._stub.EncodeAudio(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "audio encoder").at(item.field) from error
        return Encoded(item, response.embedding, response.timings, _ms_since(started))

    async def close(self) -> None:
        """See ``Encoder``."""
        await self._channel.close()


class Decoder:
    """The llm-decoder service."""

    def __init__(self, target: str, max_message_bytes: int) -> None:
        self._channel = open_channel(target, max_message_bytes)
        self._stub = decoder_pb2_grpc.DecoderServiceStub(self._channel)

    async def model(self, timeout_s: float) -> decoder_pb2.DecoderServiceGetModelResponse:
        """What the decoder is."""
        try:
            return await self._stub.GetModel(decoder_pb2.DecoderServiceGetModelRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "decoder") from error

    async def count(self, request: decoder_pb2.CountTokensRequest, timeout_s: float) -> None:
        """Lets the decoder check a conversation and count it. Raises what it would refuse ``generate`` with."""
        try:
            await self._stub.CountTokens(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "decoder") from error

    async def generate(
        self, request: decoder_pb2.GenerateRequest, timeout_s: float, metadata: Metadata
    ) -> AsyncGenerator[decoder_pb2.GenerateResponse]:
        """The events of an answer; closing the iterator cancels it."""
        call = self._stub.Generate(request, timeout=timeout_s, metadata=metadata)
        try:
            async for event in call:
                yield event
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "decoder") from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()


_EMBEDDING_FIELD = re.compile(r"^messages\[(\d+)]\.parts\[(\d+)]\.embedding")


def caller_field(field: str, items: Sequence[Item]) -> str:
    """The decoder's path of a part as the gateway's caller knows it: media were not embeddings there."""
    match = _EMBEDDING_FIELD.match(field)
    indices = tuple(int(index) for index in match.groups()) if match else ()
    own = [item.field for item in items if (item.message_index, item.part_index) == indices]
    return own[0] if own else field


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
