"""The services behind the gateway, each as the few calls that the gateway makes.

Turns their failures into errors of ours that name the part as the gateway's caller knows it. Knows nothing of requests
as a whole.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

import grpc

from gateway import guesses
from gateway.conversation import Item
from gateway.recent import Recent
from gateway.routing.call import Call
from gateway.routing.policy import by_affinity, least_cost
from gateway.routing.pool import ReplicaPool, open_pool
from gateway.routing.replica import ReplicaSnapshot, Stub
from gateway.routing.settings import RoutingSettings
from trichord.errors import ContextLengthError
from trichord.telemetry.spans import Metadata
from trichord.tls import TlsSettings
from trichord.v1 import (
    audio_pb2,
    audio_pb2_grpc,
    decoder_pb2,
    decoder_pb2_grpc,
    tensor_pb2,
    vision_pb2,
    vision_pb2_grpc,
)


class Encoding(NamedTuple):
    """What an encoder made of a file, and how long it took."""

    embedding: tensor_pb2.Embedding
    timings: tensor_pb2.EncodeTimings
    round_trip_ms: float


class EncodeResponse(Protocol):
    """What both encoders answer."""

    @property
    def embedding(self) -> tensor_pb2.Embedding:
        """The rows."""

    @property
    def timings(self) -> tensor_pb2.EncodeTimings:
        """Where the time went."""


class ModelResponse(Protocol):
    """What both encoders tell of themselves."""

    @property
    def fingerprint(self) -> str:
        """Of tower, preprocessing and type."""


EncodeCall = Callable[[Stub, bytes, float, Metadata], Awaitable[EncodeResponse]]
"""Sends a file's bytes over a stub, with seconds that the call may last, and metadata."""

AskCall = Callable[[Stub, float, Metadata], Awaitable[ModelResponse]]
"""The same for GetModel."""


class Encoder:
    """The service that encodes one modality."""

    def __init__(
        self,
        pool: ReplicaPool[Stub],
        service: str,
        method: str,
        call: EncodeCall[Stub],
        ask: AskCall[Stub],
        cost: Callable[[int], float],
    ) -> None:
        """``call`` is ``method`` of ``service`` (``package.Service``), ``ask`` its GetModel.

        ``cost`` tells what a file of so many bytes costs.
        """
        self._pool: ReplicaPool[Any] = pool
        self._call: EncodeCall[Any] = call
        self._method, self._cost = f"{service}/{method}", cost

        async def ask_any(timeout_s: float) -> str:
            return (await Call(pool, f"{service}/GetModel", least_cost, timeout_s, cost=0.0).unary(ask)).fingerprint

        self._fingerprint = Recent(ask_any)

    @property
    def is_asleep(self) -> bool:
        """Whether it has no replica: scaled to none, and none is up yet."""
        return self._pool.is_deserted

    @property
    def is_heard(self) -> bool:
        """Whether it has a replica of whose health something is known."""
        return self._pool.is_heard

    async def known(self) -> None:
        """Waits until it is known who its replicas are."""
        await self._pool.known()

    def look(self) -> None:
        """Looks for replicas soon."""
        self._pool.doubt()

    async def encode(self, content: bytes, timeout_s: float) -> Encoding:
        """One file, by the replica with the least to do. Raises a TrichordError."""

        def send(stub: Any, left_s: float, metadata: Metadata) -> Awaitable[EncodeResponse]:
            return self._call(stub, content, left_s, metadata)

        started = time.perf_counter()
        response = await Call(self._pool, self._method, least_cost, timeout_s, self._cost(len(content))).unary(send)
        return Encoding(response.embedding, response.timings, (time.perf_counter() - started) * 1e3)

    async def fingerprint(self, timeout_s: float) -> str:
        """What embeddings of this encoder are known by; of several versions at once, one's."""
        return await self._fingerprint.get(timeout_s)

    def snapshot(self) -> list[ReplicaSnapshot]:
        """Its replicas."""
        return self._pool.snapshot()

    async def close(self) -> None:
        """Closes the connections."""
        await self._fingerprint.close()
        await self._pool.close()


VisionStub: TypeAlias = "vision_pb2_grpc.VisionEncoderServiceAsyncStub"
AudioStub: TypeAlias = "audio_pb2_grpc.AudioEncoderServiceAsyncStub"
DecoderStub: TypeAlias = "decoder_pb2_grpc.DecoderServiceAsyncStub"


def vision_encoder(
    target: str, max_message_bytes: int, routing: RoutingSettings | None = None, tls: TlsSettings | None = None
) -> Encoder:
    """The vision-encoder service at ``target`` (see ``routing.target.parse``)."""

    def call(stub: VisionStub, image: bytes, timeout_s: float, metadata: Metadata) -> Awaitable[EncodeResponse]:
        return stub.EncodeImage(vision_pb2.EncodeImageRequest(image=image), timeout=timeout_s, metadata=metadata)

    def ask(stub: VisionStub, timeout_s: float, metadata: Metadata) -> Awaitable[ModelResponse]:
        return stub.GetModel(vision_pb2.VisionEncoderServiceGetModelRequest(), timeout=timeout_s, metadata=metadata)

    make_stub: Callable[[grpc.aio.Channel], VisionStub] = vision_pb2_grpc.VisionEncoderServiceStub
    pool = open_pool("vision encoder", target, make_stub, _settings(routing), max_message_bytes, tls=tls)
    return Encoder(pool, "trichord.v1.VisionEncoderService", "EncodeImage", call, ask, guesses.tiles)


def audio_encoder(
    target: str, max_message_bytes: int, routing: RoutingSettings | None = None, tls: TlsSettings | None = None
) -> Encoder:
    """The audio-encoder service at ``target``."""

    def call(stub: AudioStub, audio: bytes, timeout_s: float, metadata: Metadata) -> Awaitable[EncodeResponse]:
        return stub.EncodeAudio(audio_pb2.EncodeAudioRequest(audio=audio), timeout=timeout_s, metadata=metadata)

    def ask(stub: AudioStub, timeout_s: float, metadata: Metadata) -> Awaitable[ModelResponse]:
        return stub.GetModel(audio_pb2.AudioEncoderServiceGetModelRequest(), timeout=timeout_s, metadata=metadata)

    make_stub: Callable[[grpc.aio.Channel], AudioStub] = audio_pb2_grpc.AudioEncoderServiceStub
    pool = open_pool("audio encoder", target, make_stub, _settings(routing), max_message_bytes, tls=tls)
    service = "trichord.v1.AudioEncoderService"
    return Encoder(pool, service, "EncodeAudio", call, ask, lambda num_bytes: guesses.audio_ms(num_bytes) / 1000)


DECODER = "trichord.v1.DecoderService"


class Decoder:
    """The llm-decoder service."""

    def __init__(
        self,
        target: str,
        max_message_bytes: int,
        routing: RoutingSettings | None = None,
        tls: TlsSettings | None = None,
    ) -> None:
        make_stub: Callable[[grpc.aio.Channel], DecoderStub] = decoder_pb2_grpc.DecoderServiceStub
        self._settings = _settings(routing)
        self._pool = open_pool(
            "decoder", target, make_stub, self._settings, max_message_bytes, is_slow_reader=True, tls=tls
        )
        self._model = Recent(self._ask)

    async def model(self, timeout_s: float) -> decoder_pb2.DecoderServiceGetModelResponse:
        """What the decoder is."""
        return await self._model.get(timeout_s)

    async def accepted_fingerprints(self, timeout_s: float) -> Sequence[str]:
        """Of the encoders whose embeddings it takes."""
        return (await self.model(timeout_s)).accepted_fingerprints

    async def _ask(self, timeout_s: float) -> decoder_pb2.DecoderServiceGetModelResponse:
        request = decoder_pb2.DecoderServiceGetModelRequest()

        def send(
            stub: DecoderStub, left_s: float, metadata: Metadata
        ) -> Awaitable[decoder_pb2.DecoderServiceGetModelResponse]:
            return stub.GetModel(request, timeout=left_s, metadata=metadata)

        return await Call(self._pool, f"{DECODER}/GetModel", least_cost, timeout_s, cost=0.0).unary(send)

    async def count(self, request: decoder_pb2.CountTokensRequest, timeout_s: float) -> decoder_pb2.CountTokensResponse:
        """Lets a decoder check and count a conversation. Raises what it would refuse to answer it with."""

        def send(stub: DecoderStub, left_s: float, metadata: Metadata) -> Awaitable[decoder_pb2.CountTokensResponse]:
            return stub.CountTokens(request, timeout=left_s, metadata=metadata)

        return await Call(self._pool, f"{DECODER}/CountTokens", least_cost, timeout_s, cost=0.0).unary(send)

    def generate(
        self, request: decoder_pb2.GenerateRequest, timeout_s: float, affinity_key: bytes = b""
    ) -> AsyncGenerator[decoder_pb2.GenerateResponse, None]:
        """The events of an answer; closing the iterator cancels it.

        Requests with one ``affinity_key`` (made of what their prompts begin with, and the tenant) go to one replica,
        which has their prefix cached, as long as it is not busier than the others; an empty one goes anywhere.
        """

        def send(
            stub: DecoderStub, left_s: float, metadata: Metadata
        ) -> grpc.aio.UnaryStreamCall[Any, decoder_pb2.GenerateResponse]:
            return stub.Generate(request, timeout=left_s, metadata=metadata)

        choose = partial(by_affinity, key=affinity_key, load_factor=self._settings.load_factor)
        call = Call(self._pool, f"{DECODER}/Generate", choose, timeout_s)
        return call.stream(send, is_answer=_is_answer, is_last=_is_last)

    def snapshot(self) -> list[ReplicaSnapshot]:
        """Its replicas."""
        return self._pool.snapshot()

    async def close(self) -> None:
        """Closes the connections."""
        await self._model.close()
        await self._pool.close()


def _is_answer(event: decoder_pb2.GenerateResponse) -> bool:
    return not event.HasField("started")


def _is_last(event: decoder_pb2.GenerateResponse) -> bool:
    return event.HasField("finished")


def _settings(routing: RoutingSettings | None) -> RoutingSettings:
    return RoutingSettings.from_environment() if routing is None else routing


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
