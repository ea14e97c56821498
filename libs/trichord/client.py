"""A client of the gateway: conversations in, streamed events out, errors as this tree's own.

::

    async with OmniClient("127.0.0.1:7400") as client:
        async for event in client.chat([user(image(png), "What does the sign say?")]):
            print(event.token.text, end="", flush=True)

Knows nothing of how the gateway answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self

import grpc

from trichord.server import open_channel
from trichord.settings import MAX_MESSAGE_BYTES
from trichord.status import from_rpc_error
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc

_PEER = "gateway"


def image(data: bytes) -> gateway_pb2.Part:
    """A part that is an image file's bytes: PNG, JPEG or WebP."""
    return gateway_pb2.Part(image_bytes=data)


def audio(data: bytes) -> gateway_pb2.Part:
    """A part that is a sound file's bytes: WAV, FLAC, MP3, Ogg, MP4/M4A or WebM."""
    return gateway_pb2.Part(audio_bytes=data)


def system(text: str) -> gateway_pb2.Message:
    """Instructions; only as the first message."""
    return _message(decoder_pb2.ROLE_SYSTEM, [text])


def user(*parts: gateway_pb2.Part | str) -> gateway_pb2.Message:
    """What the person says, in the order in which the model reads it."""
    return _message(decoder_pb2.ROLE_USER, parts)


def assistant(text: str) -> gateway_pb2.Message:
    """An earlier answer of the model."""
    return _message(decoder_pb2.ROLE_ASSISTANT, [text])


def _message(role: decoder_pb2.Role, parts: Iterable[gateway_pb2.Part | str]) -> gateway_pb2.Message:
    whole = (gateway_pb2.Part(text=part) if isinstance(part, str) else part for part in parts)
    return gateway_pb2.Message(role=role, parts=whole)


class OmniClient:
    """Calls ``trichord.v1.OmniService``. Use it as an async context manager."""

    def __init__(self, target: str, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._channel = open_channel(target, max_message_bytes)
        self._stub: Any = gateway_pb2_grpc.OmniServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def chat(
        self,
        messages: Iterable[gateway_pb2.Message],
        sampling: decoder_pb2.SamplingParams | None = None,
        *,
        timeout_s: float | None = None,
    ) -> AsyncIterator[gateway_pb2.ChatResponse]:
        """Streams the answer's events: started, item_encoded, token, finished.

        ``timeout_s`` bounds the whole answer; None leaves it to the gateway. Closing the iterator cancels the answer.
        Raises the error that the gateway answered with, ``field`` naming the part, or UnavailableError.
        """
        call = self._stub.Chat(gateway_pb2.ChatRequest(messages=messages, sampling=sampling), timeout=timeout_s)
        try:
            async for event in call:
                yield event
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, _PEER) from error
        finally:
            call.cancel()

    async def model(self, *, timeout_s: float = 10.0) -> gateway_pb2.OmniServiceGetModelResponse:
        """Which model is served, and what a request may hold. Raises as ``chat`` does."""
        try:
            response: gateway_pb2.OmniServiceGetModelResponse = await self._stub.GetModel(
                gateway_pb2.OmniServiceGetModelRequest(), timeout=timeout_s
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, _PEER) from error
        return response
