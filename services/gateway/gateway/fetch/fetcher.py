"""One file from one URL, within limits. Knows nothing of requests, and of files only how they begin."""

from __future__ import annotations

import asyncio
import ssl

import httpcore2
import structlog

from gateway.fetch.guarded import GuardedBackend, Resolve, resolve
from gateway.fetch.settings import FetchSettings
from gateway.fetch.urls import Target, allowed, redirected
from trichord.errors import MediaError, RequestError

log = structlog.get_logger(__name__)

REDIRECTS = frozenset({301, 302, 303, 307, 308})

NOT_FETCHED = "The URL could not be fetched. Send the file itself."
"""One sentence for every way in which a host does not answer: a caller learns nothing of our network from it."""


class Fetcher:
    """Fetches images. Environment variables for proxies are not read."""

    def __init__(
        self,
        settings: FetchSettings,
        *,
        resolve: Resolve = resolve,
        network: httpcore2.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``resolve``, ``network`` and ``tls`` take the place of the system's in tests."""
        self._settings = settings
        self._places = asyncio.Semaphore(settings.max_concurrent)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=settings.max_concurrent,
            max_keepalive_connections=0,
            network_backend=GuardedBackend(resolve, network or httpcore2.AnyIOBackend()),
        )

    async def fetch(self, url: str, timeout_s: float) -> bytes:
        """The image that a URL names.

        Raises RequestError if the URL is not allowed, MediaError if there is no image there within limits, both without
        a field.
        """
        target = self.check(url)
        try:
            async with asyncio.timeout(min(timeout_s, self._settings.timeout_s)), self._places:
                data = await self._follow(target)
        except (httpcore2.TimeoutException, TimeoutError) as error:
            raise MediaError("The URL was not fetched in time. Send the file itself.") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, ssl.SSLError) as error:
            log.info("a URL was not fetched", error=type(error).__name__)
            raise MediaError(NOT_FETCHED) from error
        if not is_image(data):
            raise MediaError("What the URL names is not a PNG, JPEG or WebP file.")
        return data

    def check(self, url: str) -> Target:
        """What would be fetched. Raises RequestError, without a field, if it is not allowed or nothing is."""
        if not self._settings.hosts:
            raise RequestError("URLs are not fetched here. Send the file itself.")
        return allowed(url, self._settings)

    async def close(self) -> None:
        """Closes every connection."""
        await self._pool.aclose()

    async def _follow(self, target: Target) -> bytes:
        for _ in range(1 + self._settings.max_redirects):
            found = await self._get(target)
            if isinstance(found, bytes):
                return found
            try:
                target = redirected(target, found, self._settings)
            except RequestError as error:
                raise MediaError(NOT_FETCHED) from error
        raise MediaError("The URL is redirected. Send the URL of the file, or the file itself.")

    async def _get(self, target: Target) -> bytes | str:
        """The body, or where the host redirects to."""
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        headers = {
            "Host": target.authority,
            "Accept": "image/*",
            "Accept-Encoding": "identity",
            "User-Agent": "trichord",
        }
        idle_s = self._settings.idle_timeout_s
        timeouts = {"connect": idle_s, "read": idle_s, "write": idle_s, "pool": self._settings.timeout_s}
        async with self._pool.stream(
            "GET", url, headers=[*headers.items()], extensions={"timeout": timeouts}
        ) as response:
            told = {name.lower(): value for name, value in response.headers}
            if response.status in REDIRECTS:
                return told.get(b"location", b"").decode("ascii", "replace")
            if response.status != 200 or told.get(b"content-encoding", b"identity").lower() != b"identity":
                raise MediaError(NOT_FETCHED)
            return await self._body(response)

    async def _body(self, response: httpcore2.Response) -> bytes:
        data = bytearray()
        async for chunk in response.aiter_stream():
            data += chunk
            if len(data) > self._settings.max_bytes:
                raise MediaError(f"The file is larger than {self._settings.max_bytes} bytes. Send a smaller one.")
        return bytes(data)


def is_image(data: bytes) -> bool:
    """Whether a file begins like one that the vision encoder takes; a host's word on its type is not asked for."""
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return is_webp or data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))
