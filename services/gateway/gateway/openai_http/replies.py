"""Responses of the plain routes: JSON as a whole, a file as it is read, piece by piece. Knows nothing of either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.openai_http.event_stream import start_message, to_json


def json_response(content: object, status: int = 200) -> Response:
    """Compact JSON that nobody caches."""
    return Response(to_json(content), status, {"cache-control": "no-cache"}, media_type="application/json")


class Download(Response):
    """Bytes under a name that a browser saves them by."""

    def __init__(self, content: AsyncIterator[bytes], num_bytes: int, file_id: str, write_timeout_s: float) -> None:
        """``write_timeout_s``: how long the reader may leave a piece unread before it is cut off."""
        super().__init__()
        self._content, self._num_bytes, self._write_timeout_s = content, num_bytes, write_timeout_s
        self._disposition = f'attachment; filename="{file_id}.jsonl"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it. Raises ClientDisconnect if the reader is too slow, and what reading raises."""
        headers = {"content-length": str(self._num_bytes), "content-disposition": self._disposition}
        await send(start_message(200, "application/jsonl", headers))
        if scope["method"] != "HEAD":
            async for piece in self._content:
                await self._write(send, piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send, piece: bytes) -> None:
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError as error:
            raise ClientDisconnect from error
