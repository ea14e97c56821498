"""OmniService: the gRPC face of the gateway. Thin: every method hands over and passes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from gateway import calls
from gateway.admission import charges
from gateway.caller import Caller
from gateway.chat import Chat
from gateway.cluster import Cluster
from gateway.deadline import Deadline
from gateway.handles import calls as handles
from gateway.identity.principal import current_principal
from trichord import request_id
from trichord.server import remaining_s
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class OmniService(gateway_pb2_grpc.OmniServiceServicer):
    """See gateway.proto for every method's contract."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def Chat(  # noqa: N802
        self, request: gateway_pb2.ChatRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.ChatResponse]:
        """Answers a conversation."""
        if not request.request_id:
            request.request_id = f"chat-{request_id.new()}"
        chat = Chat(self._cluster, request, self._caller(context, request.priority), "grpc")
        async with aclosing(chat.events()) as events:
            async for event in events:
                yield event

    async def PutMedia(  # noqa: N802
        self, request: gateway_pb2.PutMediaRequest, context: Context
    ) -> gateway_pb2.PutMediaResponse:
        """Keeps media for later requests."""
        return await handles.put_media(request, current_principal().tenant, self._cluster.handles)

    async def ListMedia(  # noqa: N802
        self, request: gateway_pb2.ListMediaRequest, context: Context
    ) -> gateway_pb2.ListMediaResponse:
        """Tells the tenant's handles."""
        return await handles.list_media(request, current_principal().tenant, self._cluster.handles)

    async def DeleteMedia(  # noqa: N802
        self, request: gateway_pb2.DeleteMediaRequest, context: Context
    ) -> gateway_pb2.DeleteMediaResponse:
        """Forgets a handle."""
        return await handles.delete_media(request, current_principal().tenant, self._cluster.handles)

    async def Encode(  # noqa: N802
        self, request: gateway_pb2.EncodeRequest, context: Context
    ) -> gateway_pb2.EncodeResponse:
        """Encodes one medium."""
        return await calls.encode(self._cluster, request, self._caller(context))

    async def CountTokens(  # noqa: N802
        self, request: gateway_pb2.OmniServiceCountTokensRequest, context: Context
    ) -> gateway_pb2.OmniServiceCountTokensResponse:
        """Counts a conversation's tokens."""
        return await calls.count_tokens(self._cluster, request, self._caller(context))

    async def GetModel(  # noqa: N802
        self, request: gateway_pb2.OmniServiceGetModelRequest, context: Context
    ) -> gateway_pb2.OmniServiceGetModelResponse:
        """Tells what is served."""
        return await calls.get_model(self._cluster, self._caller(context))

    def _caller(self, context: Context, priority: decoder_pb2.Priority = decoder_pb2.PRIORITY_UNSPECIFIED) -> Caller:
        settings = self._cluster.settings
        deadline = Deadline(remaining_s(context, settings.default_deadline_s), settings.hop_margin_s)
        principal = current_principal()
        return Caller(principal, charges.priority(priority, principal.job_id), deadline)
