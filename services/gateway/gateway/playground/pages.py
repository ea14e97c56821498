"""The playground's routes: each file of ``static`` under /playground/, and its page at /.

The page needs no key to be read: it holds nothing but itself. Its policy lets the browser load nothing from elsewhere
and run nothing inline, so that text of a model or of a file name cannot become code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
MEDIA_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
INDEX = "index.html"

Handler = Callable[[Request], Awaitable[Response]]


def routes() -> list[Route]:
    """One route for each file, its content read now. None needs a key; each takes GET and HEAD."""
    files = sorted(resources.files(__package__).joinpath("static").iterdir(), key=lambda file: file.name)
    return [Route(_path(file.name), _static(file.name, file.read_bytes()), methods=["GET"]) for file in files]


def _path(name: str) -> str:
    return "/" if name == INDEX else f"/playground/{name}"


def _static(name: str, content: bytes) -> Handler:
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]
    headers = {**HEADERS, "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return serve
