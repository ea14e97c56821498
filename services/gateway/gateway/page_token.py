"""Page tokens: where a listing goes on. They mean nothing to clients, and are checked like all input."""

from __future__ import annotations

import base64
import re

from trichord.errors import RequestError


def of(place: str) -> str:
    """The token of a place, which is ASCII."""
    return base64.urlsafe_b64encode(place.encode("ascii")).decode()


def read(token: str, pattern: str) -> re.Match[str] | None:
    """The place as ``pattern`` matches it whole; None if there is no token.

    Raises RequestError, field ``page_token``, for what never was one.
    """
    if not token:
        return None
    try:
        match = re.fullmatch(pattern, base64.b64decode(token.encode(), b"-_", validate=True).decode("ascii"))
    except ValueError:
        match = None
    if not match:
        raise RequestError("That is no page token. Take next_page_token as it came.", field="page_token")
    return match


def size(asked: int, default: int, most: int, what: str) -> int:
    """How many a page has. Raises RequestError, field ``page_size``, for what is out of range."""
    if not 0 <= asked <= most:
        raise RequestError(f"A page has 1 to {most} {what}; 0 takes {default}.", field="page_size")
    return asked or default
