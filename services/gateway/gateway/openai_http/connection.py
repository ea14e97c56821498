"""Work done for a client only while it is there, and while this process still serves.

Knows ASGI; knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from trichord.errors import UnavailableError

CUT_S = 1.0
"""Seconds that answers have to say that they were cut off."""


class Drain:
    """How far this process is from its end, and who is still being served."""

    def __init__(self) -> None:
        self.is_ready = True
        """Whether new clients should come."""
        self.refusing = asyncio.Event()
        """Set when new requests are refused."""
        self.idle = asyncio.Event()
        """Set while nobody is being served."""
        self.idle.set()
        self._num_busy = 0
        self._cut = asyncio.Event()

    async def run(self, notice_s: float, timeout_s: float) -> None:
        """Fails readiness, serves on for the notice, lets answers finish, then ends those that are left."""
        self.is_ready = False
        await asyncio.sleep(notice_s)
        self.refusing.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self.idle.wait()
        except TimeoutError:
            self._cut.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), CUT_S)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Around one request: a drain waits for it."""
        self._num_busy += 1
        self.idle.clear()
        try:
            yield
        finally:
            self._num_busy -= 1
            if not self._num_busy:
                self.idle.set()

    async def work(self, receive: Receive, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs ``coroutine`` to its end; cancels it if the client leaves or the process ends.

        Raises what it raises, ClientDisconnect if the client left, UnavailableError if the process ends.
        """
        work = asyncio.create_task(coroutine, name="http answer")
        left = asyncio.create_task(_until_disconnect(receive), name="http disconnect")
        cut = asyncio.create_task(self._cut.wait(), name="http cut")
        try:
            await asyncio.wait({work, left, cut}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if left.done():
                raise ClientDisconnect
            raise shutting_down()
        finally:
            for task in (work, left, cut):
                task.cancel()
            await asyncio.gather(work, left, cut, return_exceptions=True)


def shutting_down() -> UnavailableError:
    """What a request is told that comes or stays too late."""
    return UnavailableError("This gateway is shutting down. Try again: another one answers.", retry_after_s=1.0)


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
