"""Both clients behind one asynchronous face, so that every test of behaviour is a test of both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from trichord.client import OmniClient, SyncOmniClient


class AsynchronousFace:
    """Some methods; what streams comes as a list."""

    def __init__(self, face: object) -> None:
        self._face = face

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **keywords: Any) -> Any:
            result = getattr(self._face, method)(*arguments, **keywords)
            return [item async for item in result] if inspect.isasyncgen(result) else await result

        return call


class FaceInThread:
    """The same of blocking ones, each call in a thread: the server of a test is on this loop."""

    def __init__(self, face: object) -> None:
        self._face = face

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            result = getattr(self._face, method)(*arguments, **keywords)
            return list(result) if isinstance(result, Generator) else result

        return lambda *arguments, **keywords: asyncio.to_thread(call, *arguments, **keywords)


class Asynchronous(AsynchronousFace):
    """``OmniClient``."""

    def __init__(self, target: str, **options: Any) -> None:
        self.client = OmniClient(target, **options)
        self.jobs = AsynchronousFace(self.client.jobs)
        super().__init__(self.client)


class InThread(FaceInThread):
    """``SyncOmniClient``."""

    def __init__(self, target: str, **options: Any) -> None:
        self.client = SyncOmniClient(target, **options)
        self.jobs = FaceInThread(self.client.jobs)
        super().__init__(self.client)


Client = Asynchronous | InThread
KINDS: tuple[type[Client], ...] = (Asynchronous, InThread)
