"""Several replicas of one fake service on loopback, and pools over them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gateway.routing.call import Call
from gateway.routing.policy import least_cost
from gateway.routing.pool import ReplicaPool, open_pool
from gateway.routing.replica import ReplicaSnapshot
from gateway.routing.settings import RoutingSettings
from gateway.routing.target import Resolve
from tests.unit.gateway.fakes import FakeDecoder, FakeVision, image_embedding, serving
from trichord import server
from trichord.telemetry.spans import Metadata
from trichord.v1 import vision_pb2, vision_pb2_grpc

SOON_S = 20
"""Longer than anything here takes on a busy machine; reached only when something hangs."""

MAX_MESSAGE_BYTES = 1 << 20

ENCODE_IMAGE = "trichord.v1.VisionEncoderService/EncodeImage"

Fake = TypeVar("Fake", FakeVision, FakeDecoder)


@dataclass
class Fleet(Generic[Fake]):
    """Replicas with their servers, in one order."""

    fakes: list[Fake]
    servers: list[server.RunningServer]

    @property
    def addresses(self) -> list[str]:
        return [f"127.0.0.1:{running.port}" for running in self.servers]

    @property
    def target(self) -> str:
        return ",".join(self.addresses)

    @property
    def num_requests(self) -> list[int]:
        return [len(fake.calls.requests) for fake in self.fakes]

    def busy(self) -> int:
        """The only replica with a call in progress."""
        (index,) = [i for i, fake in enumerate(self.fakes) if fake.calls.num_running]
        return index

    async def entered(self) -> int:
        """Waits for the first call; which replica has it."""
        waits = [asyncio.create_task(fake.calls.entered.wait()) for fake in self.fakes]
        await asyncio.wait(waits, timeout=SOON_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return self.busy()

    async def stop(self, index: int) -> None:
        await self.servers[index].server.stop(0)

    async def restart(self, index: int) -> None:
        """Starts a stopped replica again where it was."""
        self.servers[index] = await serving(self.fakes[index], self.addresses[index])

    async def say(self, index: int, *, serving: bool) -> None:
        """What its health check says."""
        await self.servers[index].health.set_serving(serving)


@contextlib.asynccontextmanager
async def fleet(make: Callable[[], Fake], num_replicas: int) -> AsyncIterator[Fleet[Fake]]:
    fakes = [make() for _ in range(num_replicas)]
    running = Fleet(fakes, [await serving(fake) for fake in fakes])
    yield running
    for one in running.servers:
        await one.server.stop(0)


class Names:
    """A resolver that a test answers for."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses
        self.num_asked = 0

    async def __call__(self, name: str, port: int) -> Sequence[str]:
        assert (name, port) == ("vision.test", 50051)
        self.num_asked += 1
        if not self.addresses:
            raise OSError("no such name")
        return self.addresses


NAME = "dns:///vision.test:50051"


def settings(**fields: Any) -> RoutingSettings:
    return RoutingSettings(**fields)


@contextlib.asynccontextmanager
async def vision_pool(
    target: str, resolve: Resolve | None = None, *, is_heard: bool = True, **fields: Any
) -> AsyncIterator[ReplicaPool[Any]]:
    """A pool, if ``is_heard`` once every replica's health is known: it moves calls until then."""
    options = {} if resolve is None else {"resolve": resolve}
    stub = vision_pb2_grpc.VisionEncoderServiceStub
    pool = open_pool("vision encoder", target, stub, settings(**fields), MAX_MESSAGE_BYTES, **options)  # type: ignore[arg-type]
    if is_heard:
        await heard(pool.snapshot)
    yield pool
    await pool.close()


async def encode(pool: ReplicaPool[Any], image: bytes = b"I", timeout_s: float = SOON_S, cost: float = 1.0) -> None:
    """Has an image encoded."""

    def send(stub: Any, left_s: float, metadata: Metadata) -> Awaitable[vision_pb2.EncodeImageResponse]:
        return stub.EncodeImage(vision_pb2.EncodeImageRequest(image=image), timeout=left_s, metadata=metadata)  # type: ignore[no-any-return]

    response = await Call(pool, ENCODE_IMAGE, least_cost, timeout_s, cost).unary(send)
    assert response.embedding == image_embedding(image)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until it holds."""
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is another task's state, not ours to signal
            await asyncio.sleep(0.01)


async def heard(snapshot: Callable[[], list[ReplicaSnapshot]]) -> None:
    """Waits until something is known of every replica's health."""
    await until(lambda: all(one.health != "unknown" for one in snapshot()))


def replica(pool: ReplicaPool[Any], address: str) -> ReplicaSnapshot:
    """How one replica stands."""
    (found,) = [snapshot for snapshot in pool.snapshot() if snapshot.address == address]
    return found


@contextlib.asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """The address of a server that accepts connections and never says anything."""
    writers: list[asyncio.StreamWriter] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read()

    listening = await asyncio.start_server(hold, "127.0.0.1", 0)
    yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    listening.close()
    for writer in writers:
        writer.close()
