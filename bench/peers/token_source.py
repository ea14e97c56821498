"""A decoder that costs next to nothing: streams tokens made beforehand, one a message, as fast as they are taken.

Logs the port that it serves on. What is left of a measurement with it is the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from trichord import server
from trichord.logs import configure
from trichord.settings import ServiceSettings
from trichord.v1 import decoder_pb2, decoder_pb2_grpc

STARTED = decoder_pb2.GenerateResponse(started=decoder_pb2.GenerateStarted())
TOKEN = decoder_pb2.GenerateResponse(chunk=decoder_pb2.TokenChunk(text=" word", token_ids=[7]))


class TokenSource(decoder_pb2_grpc.DecoderServiceServicer):
    """Answers whatever is asked with ``max_tokens`` tokens."""

    async def Generate(  # noqa: N802, D102
        self, request: decoder_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[decoder_pb2.GenerateResponse]:
        yield STARTED
        for _ in range(request.sampling.max_tokens):
            yield TOKEN
        reason = decoder_pb2.FINISH_REASON_LENGTH
        yield decoder_pb2.GenerateResponse(finished=decoder_pb2.GenerateFinished(reason=reason))

    async def GetModel(  # noqa: N802, D102
        self, request: decoder_pb2.DecoderServiceGetModelRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> decoder_pb2.DecoderServiceGetModelResponse:
        return decoder_pb2.DecoderServiceGetModelResponse(model="source", context_tokens=1 << 20, hidden_size=1)

    async def CountTokens(  # noqa: N802, D102
        self, request: decoder_pb2.CountTokensRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> decoder_pb2.CountTokensResponse:
        return decoder_pb2.CountTokensResponse(context_tokens=1 << 20)


async def main() -> None:
    """Serves until it is killed."""

    def register(grpc_server: grpc.aio.Server) -> Sequence[str]:
        decoder_pb2_grpc.add_DecoderServiceServicer_to_server(TokenSource(), grpc_server)
        return ["trichord.v1.DecoderService"]

    configure("token-source", "info")
    running = await server.start(register, ServiceSettings.model_validate({}))
    await running.health.set_serving(True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
