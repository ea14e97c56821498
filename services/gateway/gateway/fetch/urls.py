"""Which URLs may be fetched: of an allowed scheme, host and port, and written so that no two parsers differ on it.

A URL is parsed once, and what was checked is what is connected to (CVE-2026-24779: a backslash that two parsers read
differently). Knows no addresses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2

from gateway.fetch.settings import FetchSettings
from trichord.errors import RequestError

MAX_URL_CHARS = 2048

DEFAULT_PORTS = {"https": 443, "http": 80}

# RFC 3986's characters, without the at-sign, so that nothing looks like a user before a host. No backslash, no blank.
_PLAIN = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]!$&'()*+,;=%]+")
_NAME = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
"""A DNS name whose last label begins with a letter: no IP address in any notation, no zone, no final dot."""


@dataclass(frozen=True)
class Target:
    """An allowed URL, taken apart."""

    scheme: str
    host: str
    port: int
    path: str
    """Path and query, as they go into the request."""

    @property
    def authority(self) -> str:
        """The Host header."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"


def allowed(url: str, settings: FetchSettings) -> Target:
    """The target of a URL. Raises RequestError if it is malformed or not allowed."""
    if len(url) > MAX_URL_CHARS:
        raise RequestError(f"A URL has at most {MAX_URL_CHARS} characters.")
    if not _PLAIN.fullmatch(url):
        raise RequestError("The URL is malformed. Percent-encode every character that is not plain in a URL.")
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise RequestError("The URL is malformed.") from error
    if parsed.scheme not in ("https", "http") or (parsed.scheme == "http" and not settings.allow_http):
        raise RequestError("Only https URLs are fetched here.")
    host = parsed.raw_host.decode("ascii")
    port = parsed.port or DEFAULT_PORTS[parsed.scheme]
    if parsed.userinfo or not _NAME.fullmatch(host) or not _is_listed(host, port, parsed.scheme, settings.hosts):
        raise RequestError("URLs of this host are not fetched here. Send the file itself.")
    return Target(parsed.scheme, host, port, parsed.raw_path.decode("ascii"))


def redirected(target: Target, location: str, settings: FetchSettings) -> Target:
    """Where a redirect leads. Raises RequestError if that is not allowed, or of another scheme or port."""
    try:
        url = httpx2.URL(f"{target.scheme}://{target.authority}{target.path}").join(location)
    except httpx2.InvalidURL as error:
        raise RequestError("The redirect is malformed.") from error
    after = allowed(str(url), settings)
    if (after.scheme, after.port) != (target.scheme, target.port):
        raise RequestError("The redirect changes scheme or port.")
    return after


def _is_listed(host: str, port: int, scheme: str, hosts: Sequence[str]) -> bool:
    for entry in hosts:
        name, _, own_port = entry.partition(":")
        is_name = host.endswith(name[1:]) if name.startswith("*") else host == name
        if is_name and port == (int(own_port) if own_port else DEFAULT_PORTS[scheme]):
            return True
    return False
