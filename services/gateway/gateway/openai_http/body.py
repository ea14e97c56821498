"""A request's body: bounded while it is read, in bytes and in time, and of the one kind that is served.

Knows ASGI; knows nothing of what the bytes mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from gateway.openai_http.refusals import HttpError
from gateway.openai_http.settings import HttpSettings
from trichord.errors import OverloadedError


class BodyBudget:
    """Bytes of bodies held at once, all requests together."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes

    @contextmanager
    def share(self) -> Iterator[BodyShare]:
        """One request's part of the budget, given back at the end."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self._left += share.num_bytes

    def take(self, num_bytes: int) -> None:
        """Raises OverloadedError if so many bytes are not left."""
        if num_bytes > self._left:
            raise OverloadedError("Too many large requests are in progress. Try again shortly.", retry_after_s=2.0)
        self._left -= num_bytes


class BodyShare:
    """What one request took of the budget."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.num_bytes = 0

    def grow(self, num_bytes: int) -> None:
        """Takes more. Raises OverloadedError."""
        self._budget.take(num_bytes)
        self.num_bytes += num_bytes


async def read(headers: Headers, receive: Receive, settings: HttpSettings, share: BodyShare) -> bytes:
    """The whole body. Raises HttpError, OverloadedError, or ClientDisconnect if the client left."""
    check_headers(headers, settings.max_body_bytes)
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return await _read_chunks(receive, settings.max_body_bytes, share)
    except TimeoutError as error:
        message = f"The body did not arrive within {settings.body_timeout_s:g} s."
        raise HttpError(message, code="request_timeout", status=408) from error


def check_headers(headers: Headers, max_bytes: int) -> None:
    """Refuses by its headers what need not be read. Raises HttpError."""
    check_size(headers, max_bytes)
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        message = "Send JSON, with the header Content-Type: application/json."
        raise HttpError(message, code="unsupported_content_type", status=415)


def check_size(headers: Headers, max_bytes: int) -> None:
    """The part of ``check_headers`` that holds for a body of any type."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        message = "Compressed bodies are not taken. Send the body as it is."
        raise HttpError(message, code="unsupported_content_encoding", status=415)
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > max_bytes:
        raise too_large(max_bytes)


async def _read_chunks(receive: Receive, max_bytes: int, share: BodyShare) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        if share.num_bytes + len(chunk) > max_bytes:
            raise too_large(max_bytes)
        share.grow(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def too_large(max_bytes: int) -> HttpError:
    """A body of more bytes than may be."""
    message = f"A body has at most {max_bytes} bytes. Send fewer or smaller media."
    return HttpError(message, code="request_too_large", status=413)
