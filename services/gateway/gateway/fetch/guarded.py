"""Connects to public addresses only: names are resolved once, and what was checked is what is connected to.

So a name that answers differently the second time (DNS rebinding) gains nothing. TLS is above: the certificate is still
checked against the name. Knows no URLs.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpcore2

from gateway.fetch.addresses import is_public

MAX_ATTEMPTS = 3
"""Addresses of one host that are tried: a machine without IPv6 may be told of some."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""All addresses of a host, for a port."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The system's answer. Raises OSError."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in answers))


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """The network as the fetcher sees it."""

    def __init__(self, resolve: Resolve, network: httpcore2.AsyncNetworkBackend) -> None:
        """``network`` is handed addresses only."""
        self._resolve, self._network = resolve, network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connects to the host's first address that answers. Raises ConnectError unless all of them are public."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise httpcore2.ConnectError from error
        if not addresses or not all(map(is_public, addresses)):
            raise httpcore2.ConnectError
        options = timeout, local_address, socket_options
        *others, last = addresses[:MAX_ATTEMPTS]
        for address in others:
            with contextlib.suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                return await self._network.connect_tcp(address, port, *options)
        return await self._network.connect_tcp(last, port, *options)
