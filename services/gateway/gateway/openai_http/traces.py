"""``/traces`` and ``/traces/{trace_id}``: redirects to where this deployment's traces are seen. Knows no viewer."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.openai_http.settings import TRACE_ID

_TRACE_ID = re.compile(r"[0-9a-f]{32}")


def routes(template: str) -> list[Route]:
    """Public, as a link of a page brings no key. ``template`` is ``HttpSettings.traces_url``; empty: no routes."""
    if not template:
        return []
    viewer = urlsplit(template)

    async def home(request: Request) -> Response:
        return RedirectResponse(f"{viewer.scheme}://{viewer.netloc}/", 302)

    async def trace(request: Request) -> Response:
        trace_id = request.path_params["trace_id"]
        if not _TRACE_ID.fullmatch(trace_id):
            raise HTTPException(404)
        return RedirectResponse(template.replace(TRACE_ID, trace_id), 302)

    return [Route("/traces", home, methods=["GET"]), Route("/traces/{trace_id}", trace, methods=["GET"])]
