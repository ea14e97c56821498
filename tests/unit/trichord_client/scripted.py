"""A gateway that does what a test tells it, on the real server library."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import grpc

from trichord.errors import MediaError, NotFoundError
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc, tensor_pb2

Context = grpc.aio.ServicerContext[Any, Any]


class Abort(NamedTuple):
    """A failure that is none of ours: a code, and trailers."""

    code: grpc.StatusCode
    trailers: tuple[tuple[str, str], ...] = ()


class Seen(NamedTuple):
    """One attempt that arrived."""

    method: str
    request: Any
    headers: dict[str, str | bytes]
    left_s: float | None


class ScriptedGateway(gateway_pb2_grpc.OmniServiceServicer):
    """Says each part of the request back; refuses the image ``bad``; ``forever`` and ``broken`` do as they say."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.failures: deque[Exception | Abort] = deque()
        """The next attempts fail with these, before anything is answered."""
        self.media = [f"media-{number}" for number in range(2500)]
        self.left = asyncio.Event()

    async def Chat(self, request: gateway_pb2.ChatRequest, context: Context) -> AsyncIterator[gateway_pb2.ChatResponse]:
        await self._arrive("Chat", request, context)
        started = gateway_pb2.ChatStarted(request_id=request.request_id or "made-here", model="tiny")
        yield gateway_pb2.ChatResponse(started=started)
        try:
            for part in request.messages[-1].parts:
                if part.image_bytes == b"bad":
                    raise MediaError("It is not an image.", field="messages[0].parts[1].image_bytes")
                yield gateway_pb2.ChatResponse(token=gateway_pb2.ChatToken(text=part.text))
            if request.messages[-1].parts[0].text == "forever":
                await asyncio.Event().wait()
            if request.messages[-1].parts[0].text == "broken":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            if request.messages[-1].parts[0].text == "cut off":
                return
        finally:
            self.left.set()
        finished = gateway_pb2.ChatFinished(
            reason=decoder_pb2.FINISH_REASON_LENGTH, usage=gateway_pb2.Usage(completion_tokens=2)
        )
        yield gateway_pb2.ChatResponse(finished=finished)

    async def PutMedia(self, request: gateway_pb2.PutMediaRequest, context: Context) -> gateway_pb2.PutMediaResponse:
        await self._arrive("PutMedia", request, context)
        return gateway_pb2.PutMediaResponse(media_handle=f"media-{len(request.image_bytes)}")

    async def ListMedia(self, request: gateway_pb2.ListMediaRequest, context: Context) -> gateway_pb2.ListMediaResponse:
        await self._arrive("ListMedia", request, context)
        first = int(request.page_token or 0)
        page = [gateway_pb2.StoredMedia(media_handle=name) for name in self.media[first : first + request.page_size]]
        more = first + len(page) < len(self.media)
        return gateway_pb2.ListMediaResponse(media=page, next_page_token=str(first + len(page)) if more else "")

    async def DeleteMedia(
        self, request: gateway_pb2.DeleteMediaRequest, context: Context
    ) -> gateway_pb2.DeleteMediaResponse:
        await self._arrive("DeleteMedia", request, context)
        if request.media_handle not in self.media:
            raise NotFoundError("There is no such handle.", field="media_handle")
        self.media.remove(request.media_handle)
        return gateway_pb2.DeleteMediaResponse()

    async def Encode(self, request: gateway_pb2.EncodeRequest, context: Context) -> gateway_pb2.EncodeResponse:
        await self._arrive("Encode", request, context)
        return gateway_pb2.EncodeResponse(embedding=tensor_pb2.Embedding(fingerprint="f"))

    async def CountTokens(
        self, request: gateway_pb2.OmniServiceCountTokensRequest, context: Context
    ) -> gateway_pb2.OmniServiceCountTokensResponse:
        await self._arrive("CountTokens", request, context)
        return gateway_pb2.OmniServiceCountTokensResponse(prompt_tokens=decoder_pb2.PromptTokens(text=7))

    async def GetModel(
        self, request: gateway_pb2.OmniServiceGetModelRequest, context: Context
    ) -> gateway_pb2.OmniServiceGetModelResponse:
        await self._arrive("GetModel", request, context)
        return gateway_pb2.OmniServiceGetModelResponse(model="tiny", context_tokens=256)

    def register(self, grpc_server: grpc.aio.Server) -> list[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(self, grpc_server)
        return ["trichord.v1.OmniService"]

    async def _arrive(self, method: str, request: Any, context: Context) -> None:
        headers = dict(context.invocation_metadata() or ())
        self.seen.append(Seen(method, request, headers, context.time_remaining()))
        if self.failures:
            failure = self.failures.popleft()
            if isinstance(failure, Exception):
                raise failure
            await context.abort(failure.code, "scripted", failure.trailers)
