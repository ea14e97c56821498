"""A gateway whose answers a test chooses: a real gRPC server that counts what it is asked, in place of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from trichord import server
from trichord.errors import TrichordError
from trichord.settings import ServiceSettings
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc

MODEL = "stub"

Behaviour = Callable[["Call"], Awaitable[None]]


@dataclass(frozen=True)
class Call:
    """One that was made."""

    request: gateway_pb2.ChatRequest
    headers: dict[str, Any]
    nth: int
    """How often this request has been asked, from 1."""

    @property
    def text(self) -> str:
        """Its first part."""
        return self.request.messages[0].parts[0].text


@dataclass
class StubGateway(gateway_pb2_grpc.OmniServiceServicer):
    """Answers a text with itself reversed; ``behave`` may wait or raise first."""

    calls: list[Call] = field(default_factory=list)
    behave: Behaviour | None = None
    breaks_off: bool = False
    times: Counter[str] = field(default_factory=Counter)
    running: int = 0
    most_running: int = 0
    target: str = ""

    async def Chat(self, request: gateway_pb2.ChatRequest, context: Any) -> AsyncIterator[gateway_pb2.ChatResponse]:
        self.times[request.request_id] += 1
        call = Call(request, dict(context.invocation_metadata()), self.times[request.request_id])
        self.calls.append(call)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            yield gateway_pb2.ChatResponse(started=gateway_pb2.ChatStarted(request_id=request.request_id, model=MODEL))
            if self.behave:
                await self.behave(call)
            for event in answer(call.text, max(1, request.sampling.n)):
                yield event
            if not self.breaks_off:
                yield gateway_pb2.ChatResponse(finished=finished(call.text, max(1, request.sampling.n)))
        finally:
            self.running -= 1


def answer(text: str, n: int) -> list[gateway_pb2.ChatResponse]:
    """The tokens of ``n`` answers, one letter each, taking turns."""
    letters = [(sample, letter) for letter in reversed(text) for sample in range(n)]
    return [
        gateway_pb2.ChatResponse(token=gateway_pb2.ChatToken(text=letter, token_ids=[ord(letter)], sample=sample))
        for sample, letter in letters
    ]


def finished(text: str, n: int = 1) -> gateway_pb2.ChatFinished:
    """Usage that differs with the text, so that no two can be mistaken for each other."""
    done = decoder_pb2.SampleFinished(reason=decoder_pb2.FINISH_REASON_END_OF_TURN)
    usage = gateway_pb2.Usage(
        prompt_tokens=decoder_pb2.PromptTokens(text=sum(text.encode())), completion_tokens=n * len(text)
    )
    return gateway_pb2.ChatFinished(
        reason=done.reason, usage=usage, samples=[done] * n, receipt=gateway_pb2.StageReceipt(trace_id="ab" * 16)
    )


def failing(error: TrichordError, times: int = 1_000_000) -> Behaviour:
    """Fails the first so many calls for each request."""

    async def behave(call: Call) -> None:
        if call.nth <= times:
            raise error

    return behave


async def forever(call: Call) -> None:
    """Never answers."""
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def running_gateway(listen: str = "127.0.0.1:0") -> AsyncIterator[StubGateway]:
    """Serves as every service of ours does, its errors with their details."""
    stub = StubGateway()

    def register(grpc_server: grpc.aio.Server) -> list[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(stub, grpc_server)
        return ["trichord.v1.OmniService"]

    running = await server.start(register, ServiceSettings(listen=listen))
    stub.target = f"127.0.0.1:{running.port}"
    try:
        yield stub
    finally:
        await running.server.stop(0)
