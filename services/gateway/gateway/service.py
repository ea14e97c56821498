"""OmniService: the gRPC face of the gateway. Thin: every method hands over and passes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from gateway import uploads
from gateway.chat import Chat, Cluster
from gateway.deadline import Deadline
from gateway.trace import TraceContext
from trichord import request_id
from trichord.server import remaining_s
from trichord.v1 import gateway_pb2, gateway_pb2_grpc

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
        events = Chat(self._cluster, request, self._deadline(context), TraceContext.new()).events()
        async with aclosing(events):
            async for event in events:
                yield event

    async def PutMedia(  # noqa: N802
        self, request: gateway_pb2.PutMediaRequest, context: Context
    ) -> gateway_pb2.PutMediaResponse:
        """Keeps media for later requests."""
        return await uploads.put_media(request, self._cluster.store)

    async def GetModel(  # noqa: N802
        self, request: gateway_pb2.OmniServiceGetModelRequest, context: Context
    ) -> gateway_pb2.OmniServiceGetModelResponse:
        """Tells what is served."""
        model = await self._cluster.decoder.model(self._deadline(context).hop_s())
        return gateway_pb2.OmniServiceGetModelResponse(
            model=model.model,
            context_tokens=model.context_tokens,
            max_images=model.max_images,
            max_audios=model.max_audios,
            max_request_bytes=self._cluster.settings.max_message_bytes,
        )

    def _deadline(self, context: Context) -> Deadline:
        settings = self._cluster.settings
        return Deadline(remaining_s(context, settings.default_deadline_s), settings.hop_margin_s)
