"""The services behind the gateway, each as the few calls that the gateway makes.

Turns their failures into errors of ours that name the part as the gateway's caller knows it. Knows nothing of requests
as a whole.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import grpc

from gateway.conversation import Item
from trichord.errors import ContextLengthError
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

    @property
    def num_rows(self) -> int:
        """Positions of the prompt that the embedding takes."""
        return self.embedding.values.shape[0]


class EncodeResponse(Protocol):
    """What both encoders answer."""

    @property
    def embedding(self) -> tensor_pb2.Embedding:
        """The rows."""

    @property
    def timings(self) -> tensor_pb2.EncodeTimings:
        """Where the time went."""


EncodeCall = Callable[[bytes, float, Metadata], Awaitable[EncodeResponse]]
"""Sends a file's bytes, with seconds that the call may last, and metadata."""


class Encoder:
    """The service that encodes one modality."""

    def __init__(self, peer: str, channel: grpc.aio.Channel, call: EncodeCall) -> None:
        """``peer`` is its name for people."""
        self._peer, self._channel, self._call = peer, channel, call

    async def encode(self, item: Item, timeout_s: float, metadata: Metadata) -> Encoded:
        """One item. Raises a TrichordError whose field is the item's."""
        started = time.perf_counter()
        try:
            response = await self._call(item.content, timeout_s, metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self._peer).at(item.field) from error
        round_trip_ms = (time.perf_counter() - started) * 1e3
        return Encoded(item, response.embedding, response.timings, round_trip_ms)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()


def vision_encoder(target: str, max_message_bytes: int) -> Encoder:
    """The vision-encoder service at ``target``."""
    channel = open_channel(target, max_message_bytes)
    stub = vision_pb2_grpc.VisionEncoderServiceStub(channel)

    def call(image: bytes, timeout_s: float, metadata: Metadata) -> Awaitable[EncodeResponse]:
        return stub.EncodeImage(vision_pb2.EncodeImageRequest(image=image), timeout=timeout_s, metadata=metadata)

    return Encoder("vision encoder", channel, call)


def audio_encoder(target: str, max_message_bytes: int) -> Encoder:
    """The audio-encoder service at ``target``."""
    channel = open_channel(target, max_message_bytes)
    stub = audio_pb2_grpc.AudioEncoderServiceStub(channel)

    def call(audio: bytes, timeout_s: float, metadata: Metadata) -> Awaitable[EncodeResponse]:
        return stub.EncodeAudio(audio_pb2.EncodeAudioRequest(audio=audio), timeout=timeout_s, metadata=metadata)

    return Encoder("audio encoder", channel, call)


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

    async def check(self, request: decoder_pb2.CountTokensRequest, timeout_s: float, metadata: Metadata) -> None:
        """Lets the decoder check and count a conversation. Raises what it would refuse to answer it with."""
        try:
            count = await self._stub.CountTokens(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "decoder") from error
        prompt = count.prompt_tokens
        check_context(prompt.text + prompt.image + prompt.audio, count.context_tokens)

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


def check_context(num_tokens: int, context_tokens: int) -> None:
    """Raises ContextLengthError if a prompt of ``num_tokens`` at least leaves no room for an answer."""
    if num_tokens + 1 > context_tokens:
        raise ContextLengthError(
            f"The prompt has at least {num_tokens} tokens; the model fits {context_tokens}, an answer included. "
            "Shorten the conversation or send fewer or smaller media.",
            field="messages",
        )


_EMBEDDING_FIELD = re.compile(r"^messages\[(\d+)]\.parts\[(\d+)]\.embedding")


def caller_field(field: str, items: Sequence[Item]) -> str:
    """The decoder's path of a part as the gateway's caller knows it: media were not embeddings there."""
    match = _EMBEDDING_FIELD.match(field)
    indices = tuple(int(index) for index in match.groups()) if match else ()
    own = [item.field for item in items if (item.message_index, item.part_index) == indices]
    return own[0] if own else field
