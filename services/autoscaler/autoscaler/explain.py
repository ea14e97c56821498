"""What people are told of the decisions: as JSON over HTTP, which ``trichord scaling explain`` makes a table of.

A page for operators: it listens on loopback unless told otherwise, and tells nothing of requests or tenants. Knows no
policy; it repeats what the decisions say.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from autoscaler.decisions import Decisions, Record
from trichord.demand import MODALITIES, UNITS

log = structlog.get_logger(__name__)

_CLOSE_S = 1


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
    listener = _listen(address)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=_CLOSE_S,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="explain server")
    port = listener.getsockname()[1]
    log.info("listening", protocol="http", port=port)
    try:
        yield port
    finally:
        server.should_exit = True
        await task


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except (OSError, ValueError) as error:
        raise OSError(f"Cannot listen on {address}: the address is taken or not this machine's.") from error


class _Server(uvicorn.Server):
    """Leaves signals to the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
