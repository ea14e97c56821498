"""Server-sent events over ASGI (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Holds the response's start back until there is something to say or silence grows too long, so that a request refused
early gets a real HTTP status. Knows nothing of what the events mean.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import Send

from gateway.openai_http import refusals
from gateway.openai_http.settings import HttpSettings
from trichord.errors import InternalError, TrichordError
from trichord.telemetry import request_line
from trichord.telemetry.spans import error_type

log = structlog.get_logger(__name__)

CONTENT_TYPE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"


class Remark(str):
    """A comment among the events of a stream: clients pass over it, people who look at the wire do not."""


def frame(data: Any) -> bytes:
    """One event, or a remark."""
    if isinstance(data, Remark):
        return f": {data}\n\n".encode()
    return b"data: " + to_json(data) + b"\n\n"


def to_json(data: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def start_message(status: int, content_type: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The ASGI message that begins a response."""
    message: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": []}
    MutableHeaders(scope=message).update({"content-type": content_type, "cache-control": "no-cache", **headers})
    return message


class EventStream:
    """One response, written by whoever has something to say."""

    def __init__(self, send: Send, settings: HttpSettings) -> None:
        self._send, self._settings = send, settings
        self._writing = asyncio.Lock()
        self._written_s = time.monotonic()
        self.has_started = False

    async def pump(self, frames: AsyncGenerator[bytes, None]) -> None:
        """Sends all frames, with comments in longer silences. Raises what they raise, and ClientDisconnect."""
        beat = asyncio.create_task(self._keep_alive(), name="sse keep-alive")
        try:
            async with aclosing(frames):
                async for data in frames:
                    await self._write(data)
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def fail(self, error: Exception) -> None:
        """Ends a stream that has started with an error event; a clean end would pass for success."""
        request_line.add(error=error_type(error))
        if not isinstance(error, TrichordError):
            log.error("stream failed", exc_info=error)
            error = InternalError("The answer broke off by a fault of the server.")
        await self._write(frame(refusals.body(error)))
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            try:
                async with asyncio.timeout(self._settings.write_timeout_s):
                    if not self.has_started:
                        self.has_started = True
                        await self._send(start_message(200, CONTENT_TYPE, {"x-accel-buffering": "no"}))
                    await self._send({"type": "http.response.body", "body": data, "more_body": True})
            except TimeoutError as error:
                raise ClientDisconnect from error
            self._written_s = time.monotonic()

    async def _keep_alive(self) -> None:
        while True:
            silent_s = time.monotonic() - self._written_s
            if silent_s >= self._settings.keep_alive_s:
                await self._write(COMMENT)
            else:
                await asyncio.sleep(self._settings.keep_alive_s - silent_s)
