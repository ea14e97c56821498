"""The one line that the log has of an HTTP request, when it ends: at info, at debug for probes and pages.

Knows a request's method and route, never its path, query or headers: those are a caller's words.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog
from starlette.types import Scope

from trichord.telemetry import request_line
from trichord.telemetry.spans import error_type

log = structlog.get_logger(__name__)

METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])


class Answered(Protocol):
    """What became of a request."""

    status: int
    """Of the response; 0 if there was none, 499 if the client left."""


@contextmanager
def line(scope: Scope, answered: Answered) -> Iterator[None]:
    """The line of the request that the block answers."""
    began_s = time.perf_counter()
    with request_line.begun() as facts:
        facts["request_id"] = scope["request_id"]
        try:
            yield
        except BaseException as error:
            facts["error"] = error_type(error)
            raise
        finally:
            tell = log.debug if scope.get("is_public") else log.info
            duration_ms = round((time.perf_counter() - began_s) * 1e3, 1)
            named = {"method": method(scope), "route": route(scope), "status": answered.status}
            tell("request", **{**named, "duration_ms": duration_ms, **facts})


def method(scope: Scope) -> str:
    """The request's method; ``_OTHER`` for one that a caller made up."""
    return scope["method"] if scope["method"] in METHODS else "_OTHER"


def route(scope: Scope) -> str:
    """The template of the route, as ``/v1/models/{id:path}``; ``-`` if the request did not get that far."""
    return getattr(scope.get("route"), "path", "-")
