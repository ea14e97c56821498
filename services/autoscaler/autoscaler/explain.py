"""What people are told of the decisions: as JSON over HTTP, which ``trichord scaling explain`` makes a table of.

A page for operators: it listens on loopback unless told otherwise, and tells nothing of requests or tenants. Knows no
policy; it repeats what the decisions say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from autoscaler.decisions import Decisions, Record
from trichord.demand import MODALITIES, UNITS
from trichord.http_server import HttpServer, listen

log = structlog.get_logger(__name__)


def page(decisions: Decisions) -> Starlette:
    """``GET /scaling`` tells all, or with ``?modality=`` of one."""

    async def scaling(request: Request) -> JSONResponse:
        modality = request.query_params.get("modality")
        if modality is not None and modality not in MODALITIES:
            return JSONResponse({"error": f"modality must be one of {', '.join(MODALITIES)}"}, status_code=400)
        return JSONResponse(explanation(decisions, modality))

    return Starlette(routes=[Route("/scaling", scaling)])


def explanation(decisions: Decisions, modality: str | None = None) -> dict[str, Any]:
    """The newest decision of each modality, and the last changes, newest first."""
    newest = [decisions.latest[name] for name in MODALITIES if name in decisions.latest]
    return {
        "modalities": [_record(record, True) for record in newest if modality in (None, record.modality)],
        "changes": [
            _record(record, False) for record in reversed(decisions.changes) if modality in (None, record.modality)
        ],
    }


def _record(record: Record, with_inputs: bool) -> dict[str, Any]:
    told = {
        "modality": record.modality,
        "unit": UNITS[record.modality],
        "at_s": record.at_s,
        "replicas": record.seen.desired,
        "ready": record.seen.ready,
        "desired": record.decision.replicas,
        "reason": record.decision.reason,
    }
    return told | {"inputs": record.decision.inputs} if with_inputs else told


@asynccontextmanager
async def serve(app: Starlette, address: str) -> AsyncIterator[int]:
    """Serves ``app`` as long as the block lasts; yields the port. Raises OSError if the address is taken."""
    listener = listen(address)
    server = HttpServer(app, limit_concurrency=64)
    server.start(listener, "explain server")
    port = listener.getsockname()[1]
    log.info("listening", protocol="http", port=port)
    try:
        yield port
    finally:
        await server.stop()
