"""Pages of what a tenant has, as OpenAI's lists are asked for: ``limit``, ``after``, ``order``. Pure.

Ids begin with the time at which they were made, so that their order is that of time.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from starlette.datastructures import QueryParams

from gateway.openai_http.refusals import HttpError

MAX_LIMIT = 100

_DIGITS = re.compile(r"[0-9]{1,9}")


class Page(NamedTuple):
    """Which part of a list is wanted."""

    limit: int
    after: str
    """Id of the last one of the page before; empty: from the beginning on."""
    is_ascending: bool

    @classmethod
    def of(cls, query: QueryParams, default_limit: int, most: int) -> Page:
        """Reads the query; a ``limit`` up to ``most`` is taken, and at most MAX_LIMIT told. Raises HttpError."""
        limit = checked_int(query.get("limit", str(default_limit)), 1, most, "limit")
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise HttpError("order is asc or desc.", code="invalid_value", param="order")
        return cls(min(limit, MAX_LIMIT), query.get("after", ""), order == "asc")

    def rest(self, ids: Sequence[str]) -> Sequence[str]:
        """Those of ``ids``, which ascend, that are to be told from here on, first things first."""
        if self.is_ascending:
            return [one for one in ids if one > self.after]
        return [one for one in reversed(ids) if not self.after or one < self.after]


def checked_int(digits: str, least: int, most: int, param: str) -> int:
    """A number from a query or a form. Raises HttpError."""
    if not _DIGITS.fullmatch(digits) or not least <= int(digits) <= most:
        raise HttpError(f"{param} is {least} to {most}.", code="invalid_value", param=param)
    return int(digits)


def new_id(prefix: str, now_s: float) -> str:
    """An id that nobody guesses and that sorts by time: 12 hex digits of milliseconds, 20 of chance."""
    return f"{prefix}{int(now_s * 1000):012x}{secrets.token_hex(10)}"
