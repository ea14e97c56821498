"""What a service's target names: replicas one by one, or a name or a file that stands for all of them.

Knows the syntax and how to ask a resolver once; when to ask is ``discovery``'s.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from trichord.errors import SettingsError

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses (``host:port``) of a name and port; none if it is sure that there are none. Raises OSError if it is not."""

_ADDRESS = re.compile(r"^(?P<host>\[[0-9A-Fa-f:.]+]|[^\s,:/\[\]]+):(?P<port>\d{1,5})$")
_DNS, _FILE = "dns:///", "file:///"


class Target(NamedTuple):
    """Either ``addresses``, or the ``name`` and ``port`` that a resolver turns into them."""

    addresses: tuple[str, ...] = ()
    name: str = ""
    """A file's path if ``is_file``."""
    port: int = 0
    is_file: bool = False


def parse(text: str) -> Target:
    """Reads ``host:port``, several of them with commas between, ``dns:///name:port``, or ``file:///path``.

    A host that is written out is one replica, whatever it resolves to. A file lists replicas as ``read`` says. Raises
    SettingsError for anything else.
    """
    if text.startswith(_FILE) and text != _FILE:
        return Target(name=text.removeprefix("file://"), is_file=True)
    if text.startswith(_DNS):
        host, port = _host_port(text.removeprefix(_DNS), text)
        return Target(name=host, port=port)
    addresses = [address.strip() for address in text.split(",")]
    for address in addresses:
        _host_port(address, text)
    return Target(addresses=tuple(dict.fromkeys(addresses)))


def _host_port(address: str, text: str) -> tuple[str, int]:
    match = _ADDRESS.match(address)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise SettingsError(
            f"{text!r} is no target. Write host:port, several with commas, dns:///name:port, or file:///path."
        )
    return match["host"], int(match["port"])


async def resolve(name: str, port: int) -> list[str]:
    """Every A and AAAA answer that the system's resolver gives for a name. Raises OSError if it gives none."""
    answers = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return sorted({_address(family, str(at[0]), port) for family, _, _, _, at in answers})


def _address(family: int, host: str, port: int) -> str:
    return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"


async def read(path: str, port: int) -> list[str]:
    """The addresses in a file, one a line; an empty file says that there are none.

    Whoever writes the file replaces it whole. ``port`` is not used: every line has its own. Raises OSError if there is
    no such file, or something else in it.
    """
    try:
        lines = (await asyncio.to_thread(Path(path).read_text, "ascii")).split()
        return sorted({"{}:{}".format(*_host_port(line, line)) for line in lines})
    except (UnicodeDecodeError, SettingsError) as error:
        raise OSError("The file does not list addresses, one a line.") from error
