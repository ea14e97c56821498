"""The blocking client: the same calls as ``aio``, for code without an event loop.

It has gRPC's own blocking channel rather than an event loop in a thread: no loop or thread of ours is started or has to
be shut down, it works inside a running loop too (and blocks it meanwhile), and threads may share it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from types import TracebackType
from typing import Self, Unpack

import grpc

from trichord.client import connection, requests
from trichord.client.answer import Answer, Collector
from trichord.client.connection import CALL_TIMEOUT_S, CHAT_TIMEOUT_S, Caller, Tls
from trichord.client.options import ChatOptions
from trichord.client.parts import Message, Part
from trichord.client.retries import DEFAULT_POLICY, Retries, RetryPolicy, remaining_s
from trichord.client.sync_calls import SyncCalls
from trichord.client.sync_jobs import SyncJobs
from trichord.settings import MAX_MESSAGE_BYTES
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc, jobs_pb2_grpc


class SyncOmniClient:
    """``OmniClient`` for blocking code: same arguments, same results, same errors. Use it as a context manager."""

    def __init__(
        self,
        target: str,
        *,
        api_key: str | None = None,
        tls: Tls | None = None,
        retries: RetryPolicy = DEFAULT_POLICY,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """See ``OmniClient``."""
        caller, budgeted = Caller(api_key), Retries(retries)
        self._channel = connection.open_sync(target, tls, max_message_bytes)
        self._calls = SyncCalls(gateway_pb2_grpc.OmniServiceStub(self._channel), caller, budgeted)
        self.jobs = SyncJobs(SyncCalls(jobs_pb2_grpc.JobServiceStub(self._channel), caller, budgeted))
        """Work that nobody waits for: many requests at once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends what is in progress, and the connections."""
        self._channel.close()

    def chat(
        self,
        messages: Iterable[Message],
        sampling: decoder_pb2.SamplingParams | None = None,
        *,
        timeout_s: float = CHAT_TIMEOUT_S,
        **options: Unpack[ChatOptions],
    ) -> Generator[gateway_pb2.ChatResponse, None, None]:
        """See ``OmniClient.chat``."""
        request, left_s = requests.chat(messages, sampling, options), remaining_s(timeout_s)

        def begin() -> tuple[Generator[gateway_pb2.ChatResponse, None, None], gateway_pb2.ChatResponse]:
            events = self._stream(request, left_s())
            return events, next(events)

        events, first = self._calls.attempts(begin, timeout_s)
        try:
            with closing(events):
                yield first
                yield from events
        except grpc.RpcError as error:
            raise connection.told(error) from error

    def answer(
        self,
        messages: Iterable[Message],
        sampling: decoder_pb2.SamplingParams | None = None,
        *,
        timeout_s: float = CHAT_TIMEOUT_S,
        **options: Unpack[ChatOptions],
    ) -> Answer:
        """See ``OmniClient.answer``."""
        collector = Collector()
        for event in self.chat(messages, sampling, timeout_s=timeout_s, **options):
            collector.add(event)
        return collector.answer()

    def put_media(
        self, part: Part, *, ttl_s: float | None = None, timeout_s: float = CALL_TIMEOUT_S, request_id: str = ""
    ) -> gateway_pb2.PutMediaResponse:
        """See ``OmniClient.put_media``."""
        request = requests.put_media(part, ttl_s)
        response: gateway_pb2.PutMediaResponse = self._calls.call(
            "PutMedia", request, timeout_s, request_id, may_repeat=False
        )
        return response

    def list_media(
        self, *, timeout_s: float = CALL_TIMEOUT_S, request_id: str = ""
    ) -> Generator[gateway_pb2.StoredMedia, None, None]:
        """See ``OmniClient.list_media``."""
        request = gateway_pb2.ListMediaRequest(page_size=requests.PAGE_SIZE)
        while True:
            page: gateway_pb2.ListMediaResponse = self._calls.call("ListMedia", request, timeout_s, request_id)
            yield from page.media
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def delete_media(self, media_handle: str, *, timeout_s: float = CALL_TIMEOUT_S, request_id: str = "") -> None:
        """See ``OmniClient.delete_media``."""
        request = gateway_pb2.DeleteMediaRequest(media_handle=media_handle)
        self._calls.call("DeleteMedia", request, timeout_s, request_id, may_repeat=False)

    def encode(
        self, part: Part, *, timeout_s: float = CHAT_TIMEOUT_S, request_id: str = ""
    ) -> gateway_pb2.EncodeResponse:
        """See ``OmniClient.encode``."""
        request = gateway_pb2.EncodeRequest(part=part)
        response: gateway_pb2.EncodeResponse = self._calls.call("Encode", request, timeout_s, request_id)
        return response

    def count_tokens(
        self, messages: Iterable[Message], *, model: str = "", timeout_s: float = CHAT_TIMEOUT_S, request_id: str = ""
    ) -> gateway_pb2.OmniServiceCountTokensResponse:
        """See ``OmniClient.count_tokens``."""
        request = gateway_pb2.OmniServiceCountTokensRequest(model=model, messages=messages)
        response: gateway_pb2.OmniServiceCountTokensResponse = self._calls.call(
            "CountTokens", request, timeout_s, request_id
        )
        return response

    def model(
        self, *, timeout_s: float = CALL_TIMEOUT_S, request_id: str = ""
    ) -> gateway_pb2.OmniServiceGetModelResponse:
        """See ``OmniClient.model``."""
        request = gateway_pb2.OmniServiceGetModelRequest()
        response: gateway_pb2.OmniServiceGetModelResponse = self._calls.call("GetModel", request, timeout_s, request_id)
        return response

    def _stream(
        self, request: gateway_pb2.ChatRequest, timeout_s: float
    ) -> Generator[gateway_pb2.ChatResponse, None, None]:
        metadata, last = self._calls.caller.metadata(request.request_id), gateway_pb2.ChatResponse()
        call = self._calls.stub.Chat(request, timeout=timeout_s, metadata=metadata)
        try:
            for last in call:
                yield last
        finally:
            call.cancel()
        connection.check_complete(last)
