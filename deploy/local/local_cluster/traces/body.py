"""A request's body: bounded before it is read, and again while it is inflated."""

from __future__ import annotations

import asyncio
import zlib

from starlette.requests import Request

from trichord.errors import RequestError

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of a body, as it comes and inflated: an export has at most 512 spans, of some hundred bytes each."""
READ_TIMEOUT_S = 10.0
_GZIP_WBITS = 16 + zlib.MAX_WBITS


async def read(request: Request) -> bytes:
    """The whole body, inflated if it is gzip. Raises RequestError if it is too large, too slow or broken."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise RequestError("The body's encoding is unknown. Send it plain, or as gzip.", field="content-encoding")
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            body = await _read(request)
    except TimeoutError as error:
        raise RequestError(f"The body did not come within {READ_TIMEOUT_S:.0f} s.") from error
    return inflate(body) if encoding == "gzip" else body


def inflate(body: bytes) -> bytes:
    """What a gzip holds. Raises RequestError if it is broken or holds too much."""
    inflater = zlib.decompressobj(_GZIP_WBITS)
    try:
        inflated = inflater.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise RequestError("The body is no gzip.", field="content-encoding") from error
    _check(len(inflated))
    if not inflater.eof:
        raise RequestError("The body's gzip is cut off.", field="content-encoding")
    return inflated


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    _check(int(declared) if declared.isdecimal() else 0)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        _check(len(body))
    return bytes(body)


def _check(num_bytes: int) -> None:
    if num_bytes > MAX_BODY_BYTES:
        raise RequestError(f"The body has more than {MAX_BODY_BYTES} bytes. Export fewer spans at once.")
