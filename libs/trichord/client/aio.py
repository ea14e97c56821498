"""The asynchronous client: on an event loop, many calls at once. ``sync`` is its twin without one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Self, Unpack

import grpc

from trichord.client import connection, requests
from trichord.client.aio_calls import AioCalls
from trichord.client.aio_jobs import Jobs
from trichord.client.answer import Answer, Collector
from trichord.client.connection import CALL_TIMEOUT_S, CHAT_TIMEOUT_S, Caller, Tls
from trichord.client.options import ChatOptions
from trichord.client.parts import Message, Part
from trichord.client.retries import DEFAULT_POLICY, Retries, RetryPolicy, remaining_s
from trichord.settings import MAX_MESSAGE_BYTES
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc, jobs_pb2_grpc


class OmniClient:
    """Calls ``trichord.v1.OmniService``. Use it as an asynchronous context manager, or ``close`` it.

    Every call has a deadline, ``timeout_s`` seconds from its beginning, retries included; ``request_id`` names it in
    the gateway's logs. Every call raises the error that the gateway answered with (``trichord.errors``), its ``field``
    naming what is wrong, or UnavailableError if there is no gateway.
    """

    def __init__(
        self,
        target: str,
        *,
        api_key: str | None = None,
        tls: Tls | None = None,
        retries: RetryPolicy = DEFAULT_POLICY,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """``target`` is host:port or any gRPC target; without ``tls``, plaintext, and a key can be read on the way.

        Raises SettingsError for TLS files or a key that cannot be used.
        """
        caller, budgeted = Caller(api_key), Retries(retries)
        self._channel = connection.open_aio(target, tls, max_message_bytes)
        self._calls = AioCalls(gateway_pb2_grpc.OmniServiceStub(self._channel), caller, budgeted)
        self.jobs = Jobs(AioCalls(jobs_pb2_grpc.JobServiceStub(self._channel), caller, budgeted))
        """Work that nobody waits for: many requests at once."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends what is in progress, and the connections."""
        await self._channel.close()

    async def chat(
        self,
        messages: Iterable[Message],
        sampling: decoder_pb2.SamplingParams | None = None,
        *,
        timeout_s: float = CHAT_TIMEOUT_S,
        **options: Unpack[ChatOptions],
    ) -> AsyncGenerator[gateway_pb2.ChatResponse, None]:
        """Streams the answer's events: started, waiting, item_encoded and item_skipped, token, finished.

        Sampling is a message or keywords. Closing the generator cancels the answer. Retries end with the first event.
        """
        request, left_s = requests.chat(messages, sampling, options), remaining_s(timeout_s)

        async def begin() -> tuple[AsyncGenerator[gateway_pb2.ChatResponse, None], gateway_pb2.ChatResponse]:
            events = self._stream(request, left_s())
            return events, await anext(events)

        events, first = await self._calls.attempts(begin, timeout_s)
        try:
            async with aclosing(events):
                yield first
                async for event in events:
                    yield event
        except grpc.RpcError as error:
            raise connection.told(error) from error

    async def answer(
        self,
        messages: Iterable[Message],
        sampling: decoder_pb2.SamplingParams | None = None,
        *,
        timeout_s: float = CHAT_TIMEOUT_S,
        **options: Unpack[ChatOptions],
    ) -> Answer:
        """The whole answer, once it is complete. Takes what ``chat`` takes."""
        collector = Collector()
        async with aclosing(self.chat(messages, sampling, timeout_s=timeout_s, **options)) as events:
            async for event in events:
                collector.add(event)
        return collector.answer()

    async def put_media(
        self, part: Part, *, ttl_s: float | None = None, timeout_s: float = CALL_TIMEOUT_S, request_id: str = ""
    ) -> gateway_pb2.PutMediaResponse:
        """Keeps ``image(...)`` or ``audio(...)`` for later requests, 10 minutes unless ``ttl_s`` says otherwise.

        Tried again only if the gateway says that it did nothing: each success is a handle of its own.
        """
        request = requests.put_media(part, ttl_s)
        response: gateway_pb2.PutMediaResponse = await self._calls.call(
            "PutMedia", request, timeout_s, request_id, may_repeat=False
        )
        return response

    async def list_media(
        self, *, timeout_s: float = CALL_TIMEOUT_S, request_id: str = ""
    ) -> AsyncGenerator[gateway_pb2.StoredMedia, None]:
        """The caller's handles that are still alive, newest first. ``timeout_s`` is for each page of 1000."""
        request = gateway_pb2.ListMediaRequest(page_size=requests.PAGE_SIZE)
        while True:
            page: gateway_pb2.ListMediaResponse = await self._calls.call("ListMedia", request, timeout_s, request_id)
            for media in page.media:
                yield media
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete_media(self, media_handle: str, *, timeout_s: float = CALL_TIMEOUT_S, request_id: str = "") -> None:
        """Forgets a handle at once. Raises NotFoundError if it is not there. Tried again as ``put_media`` is."""
        request = gateway_pb2.DeleteMediaRequest(media_handle=media_handle)
        await self._calls.call("DeleteMedia", request, timeout_s, request_id, may_repeat=False)

    async def encode(
        self, part: Part, *, timeout_s: float = CHAT_TIMEOUT_S, request_id: str = ""
    ) -> gateway_pb2.EncodeResponse:
        """Encodes an image or a sound (bytes, address or handle); ``embedding(...)`` makes a part of the result."""
        request = gateway_pb2.EncodeRequest(part=part)
        response: gateway_pb2.EncodeResponse = await self._calls.call("Encode", request, timeout_s, request_id)
        return response

    async def count_tokens(
        self, messages: Iterable[Message], *, model: str = "", timeout_s: float = CHAT_TIMEOUT_S, request_id: str = ""
    ) -> gateway_pb2.OmniServiceCountTokensResponse:
        """What a conversation takes of the context, by modality. Media are encoded for it."""
        request = gateway_pb2.OmniServiceCountTokensRequest(model=model, messages=messages)
        response: gateway_pb2.OmniServiceCountTokensResponse = await self._calls.call(
            "CountTokens", request, timeout_s, request_id
        )
        return response

    async def model(
        self, *, timeout_s: float = CALL_TIMEOUT_S, request_id: str = ""
    ) -> gateway_pb2.OmniServiceGetModelResponse:
        """Which model is served, and what a request may hold."""
        request = gateway_pb2.OmniServiceGetModelRequest()
        response: gateway_pb2.OmniServiceGetModelResponse = await self._calls.call(
            "GetModel", request, timeout_s, request_id
        )
        return response

    async def _stream(
        self, request: gateway_pb2.ChatRequest, timeout_s: float
    ) -> AsyncGenerator[gateway_pb2.ChatResponse, None]:
        metadata, last = self._calls.caller.metadata(request.request_id), gateway_pb2.ChatResponse()
        call = self._calls.stub.Chat(request, timeout=timeout_s, metadata=metadata)
        try:
            async for last in call:
                yield last
        finally:
            call.cancel()
        connection.check_complete(last)
