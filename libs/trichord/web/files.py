"""Static files as routes: each read once, at its own path, under a policy that runs nothing but these files.

Needs starlette, which only those extras bring whose services speak HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SHARED = resources.files(__package__).joinpath("static")
"""Theme, icon, and what makes elements."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(), camera=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
MEDIA_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def folder(path: str, files: Traversable, headers: Mapping[str, str] = HEADERS) -> list[Route]:
    """A route below ``path`` for each file of a folder that is no page of its own."""
    found = sorted((file for file in files.iterdir() if not file.name.endswith(".html")), key=lambda file: file.name)
    return [route(f"{path}/{file.name}", file, headers) for file in found]


def route(path: str, file: Traversable, headers: Mapping[str, str] = HEADERS) -> Route:
    """A file, its content read now, that takes GET and HEAD and is not sent twice to who has it."""
    return content_route(path, file.name, file.read_bytes(), headers)


def content_route(path: str, name: str, content: bytes, headers: Mapping[str, str] = HEADERS) -> Route:
    """The same of something that is in no file; its type is told by the end of ``name``."""
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]
    tagged = {**headers, "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == tagged["etag"]:
            return Response(status_code=304, headers=tagged)
        return Response(content, headers=tagged, media_type=media_type)

    return Route(path, serve, methods=["GET"])
