"""The replicas of one service, as they come and go: one connection each, health-checked, closed once they are idle.

Knows no calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Generic

import grpc

from gateway.routing import target, watch
from gateway.routing.discovery import Discovery
from gateway.routing.replica import Replica, Stub
from gateway.routing.settings import RoutingSettings
from gateway.routing.target import Resolve
from gateway.routing.tasks import Tasks

FILE_INTERVAL_S = 0.1
"""Between two looks at a target that is a file: it costs next to nothing."""

Connect = Callable[[str], tuple[grpc.aio.Channel, Stub]]
"""Opens a channel to an address, and makes the stub of the service on it."""


class Membership(Generic[Stub]):
    """Follows a target (see ``target.parse``) from when it is made, inside a running event loop, until ``close``."""

    def __init__(
        self,
        text: str,
        connect: Connect[Stub],
        settings: RoutingSettings,
        resolve: Resolve = target.resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises SettingsError if ``text`` is no target."""
        self._connect, self._settings, self._clock = connect, settings, clock
        self._members: dict[str, Replica[Stub]] = {}
        self._leaving: set[Replica[Stub]] = set()
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._tasks = Tasks()
        self._discovery: Discovery | None = None
        parsed = target.parse(text)
        if parsed.is_file:
            resolve, settings = target.read, settings.model_copy(update={"resolve_interval_s": FILE_INTERVAL_S})
        if parsed.name:
            self._discovery = Discovery(parsed, resolve, self.update, settings, clock)
            self._tasks.start(self._discovery.follow(), name=f"resolve {parsed.name}")
        self.update(parsed.addresses)

    @property
    def members(self) -> list[Replica[Stub]]:
        """Those that calls may go to."""
        return list(self._members.values())

    @property
    def leaving(self) -> list[Replica[Stub]]:
        """Those that only end the calls that they have."""
        return list(self._leaving)

    @property
    def is_deserted(self) -> bool:
        """Whether nobody is there: nobody is found, and of those who were found before none can be reached."""
        if self._members and (self._discovery is None or not self._discovery.finds_nobody):
            return False
        return all(replica.health == "unreachable" for replica in self._members.values())

    async def known(self) -> None:
        """Waits until it is known who is there: the end of the first look-up."""
        if self._discovery is not None:
            await self._discovery.looked_up.wait()

    def doubt(self) -> None:
        """Somebody failed to reach a member."""
        if self._discovery is not None:
            self._discovery.doubt()

    def update(self, addresses: Sequence[str]) -> None:
        """Makes ``addresses`` the members: new ones join, others leave."""
        for address in self._members.keys() - set(addresses):
            self._leave(self._members.pop(address))
        for address in addresses:
            if address not in self._members:
                self._members[address] = self._join(address)

    async def close(self) -> None:
        """Cancels what is in progress and closes every connection; nobody is a member any more."""
        await self._tasks.cancel()
        replicas = [*self.members, *self._leaving]
        self._members.clear()
        await asyncio.gather(*(replica.channel.close() for replica in replicas))

    def _join(self, address: str) -> Replica[Stub]:
        channel, stub = self._connect(address)
        replica = Replica(address, channel, stub, self._settings, self._clock)
        self._watches[address] = self._tasks.start(watch.follow(channel, replica.heard), name=f"watch {address}")
        return replica

    def _leave(self, replica: Replica[Stub]) -> None:
        replica.is_leaving = True
        self._leaving.add(replica)
        self._watches.pop(replica.address).cancel()
        self._tasks.start(self._drain(replica), name=f"drain {replica.address}")

    async def _drain(self, replica: Replica[Stub]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                await replica.idle.wait()
        await replica.channel.close()
        self._leaving.discard(replica)
