"""Which addresses only this machine can reach. Resolves no name."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address without a port, is this machine to itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def without_port(host: str) -> str:
    """The name or address of a Host header (RFC 9110, section 7.2)."""
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdecimal() else host


def listens_on_loopback(listen: str) -> bool:
    """The same for what a server listens on: ``host:port``, or a Unix socket."""
    return listen.startswith(("unix:", "unix-abstract:")) or is_loopback(listen.rpartition(":")[0])
