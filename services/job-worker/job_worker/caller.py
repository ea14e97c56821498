"""Asks the gateway for one item's answer, on behalf of its tenant, and waits for all of it.

Knows the contract of the gateway; nothing of the queue, and not what becomes of an item that fails.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, NamedTuple

import grpc

from job_worker.settings import WorkerSettings
from trichord.client import connection
from trichord.errors import DeadlineError
from trichord.jobs.on_behalf import OnBehalf
from trichord.server import open_channel
from trichord.tls import TlsSettings
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc


class Answer(NamedTuple):
    """A whole answer."""

    texts: list[str]
    """One for each of n."""
    finished: gateway_pb2.ChatFinished
    model: str


class Asked(NamedTuple):
    """One item's call."""

    on_behalf: OnBehalf
    request_id: str
    request: gateway_pb2.ChatRequest


class GatewayCaller:
    """A channel to the gateway; ``close`` it."""

    def __init__(self, settings: WorkerSettings, tls: TlsSettings) -> None:
        """Raises SettingsError for a key that no header can hold, or certificates that are none."""
        self._caller = connection.Caller(settings.key.get_secret_value() if settings.key else None)
        self._channel = open_channel(settings.gateway, settings.max_message_bytes, tls=tls)
        self._stub: Any = gateway_pb2_grpc.OmniServiceStub(self._channel)

    async def close(self) -> None:
        """Ends what is in progress."""
        await self._channel.close()

    async def reached(self, timeout_s: float) -> None:
        """Waits until there is a gateway: its absence is no item's fault. Raises DeadlineError if there is none."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._channel.channel_ready()
        except TimeoutError as error:
            raise DeadlineError("The gateway was away until the item's deadline.") from error

    async def answer(self, asked: Asked, timeout_s: float) -> Answer:
        """The whole answer. Raises the error that the gateway told, or UnavailableError if it broke off."""
        request = gateway_pb2.ChatRequest()
        request.CopyFrom(asked.request)
        request.request_id, request.priority = asked.request_id, decoder_pb2.PRIORITY_BATCH
        metadata = (*self._caller.metadata(asked.request_id), *asked.on_behalf.metadata())
        collector = _Collector()
        call = self._stub.Chat(request, timeout=timeout_s, metadata=metadata)
        try:
            async for event in call:
                collector.add(event)
        except grpc.RpcError as error:
            raise connection.told(error) from error
        finally:
            call.cancel()
        return collector.answer()


class _Collector:
    def __init__(self) -> None:
        self._texts: dict[int, list[str]] = defaultdict(list)
        self._model, self._last = "", gateway_pb2.ChatResponse()

    def add(self, event: gateway_pb2.ChatResponse) -> None:
        self._last = event
        match event.WhichOneof("event"):
            case "started":
                self._model = event.started.model
            case "token":
                self._texts[event.token.sample].append(event.token.text)

    def answer(self) -> Answer:
        """Raises UnavailableError unless it is complete."""
        connection.check_complete(self._last)
        finished = self._last.finished
        texts = ["".join(self._texts[sample]) for sample in range(max(1, len(finished.samples)))]
        return Answer(texts, finished, self._model)
