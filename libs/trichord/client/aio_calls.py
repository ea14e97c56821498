"""One service's unary calls on an event loop, each in its time and with its retries. ``sync_calls`` is its twin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from tenacity import AsyncRetrying

from trichord.client import connection
from trichord.client.connection import Caller
from trichord.client.retries import Retries, remaining_s

_Result = TypeVar("_Result")


class AioCalls:
    """The calls of one stub."""

    def __init__(self, stub: Any, caller: Caller, retries: Retries) -> None:
        self.stub, self.caller = stub, caller
        self._retries = retries

    async def call(
        self, method: str, request: Any, timeout_s: float, request_id: str = "", *, may_repeat: bool = True
    ) -> Any:
        """The response of a method. Raises the gateway's error."""
        call, metadata, left_s = getattr(self.stub, method), self.caller.metadata(request_id), remaining_s(timeout_s)

        async def attempt() -> Any:
            return await call(request, timeout=left_s(), metadata=metadata)

        return await self.attempts(attempt, timeout_s, may_repeat=may_repeat)

    async def attempts(
        self, attempt: Callable[[], Awaitable[_Result]], timeout_s: float, *, may_repeat: bool = True
    ) -> _Result:
        """The first success of some attempts. Raises the last one's error."""
        try:
            return await AsyncRetrying(**self._retries.of_call(timeout_s, may_repeat=may_repeat))(attempt)
        except grpc.RpcError as error:
            raise connection.told(error) from error
