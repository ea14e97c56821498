"""One service's unary calls without an event loop: ``aio_calls``'s twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from tenacity import Retrying

from trichord.client import connection
from trichord.client.connection import Caller
from trichord.client.retries import Retries, remaining_s

_Result = TypeVar("_Result")


class SyncCalls:
    """The calls of one stub."""

    def __init__(self, stub: Any, caller: Caller, retries: Retries) -> None:
        self.stub, self.caller = stub, caller
        self._retries = retries

    def call(
        self, method: str, request: Any, timeout_s: float, request_id: str = "", *, may_repeat: bool = True
    ) -> Any:
        """See ``AioCalls.call``."""
        call, metadata, left_s = getattr(self.stub, method), self.caller.metadata(request_id), remaining_s(timeout_s)
        return self.attempts(
            lambda: call(request, timeout=left_s(), metadata=metadata), timeout_s, may_repeat=may_repeat
        )

    def attempts(self, attempt: Callable[[], _Result], timeout_s: float, *, may_repeat: bool = True) -> _Result:
        """See ``AioCalls.attempts``."""
        try:
            return Retrying(**self._retries.of_call(timeout_s, may_repeat=may_repeat))(attempt)
        except grpc.RpcError as error:
            raise connection.told(error) from error
