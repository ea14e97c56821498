"""/v1/files: what batches read and write. Bytes go straight to the store and from it, never all into memory.

https://platform.openai.com/docs/api-reference/files
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from gateway.openai_http import body
from gateway.openai_http.desk import Desk
from gateway.openai_http.file_shapes import MAX_EXPIRY_S, MIN_EXPIRY_S, FileDeleted, FileList
from gateway.openai_http.listing import Page, checked_int
from gateway.openai_http.multipart import FormLimits, FormReader, too_large
from gateway.openai_http.refusals import HttpError
from gateway.openai_http.replies import Download, json_response

MOST_PER_PAGE = 10_000
"""What OpenAI's API takes as ``limit`` of files."""

UPLOAD_BYTES = 16 << 20
"""What an upload holds in memory at most, on its way to a slow store: its part of all bodies' budget."""

_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"


class Files:
    """The routes' handlers. Each refuses with FeatureOffError where jobs are off."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create(self, request: Request) -> Response:
        """POST /v1/files."""
        files, tenant = self._desk.jobs.files, tenant_of(request)
        limits = FormLimits(self._desk.jobs.settings.max_file_bytes)
        form = FormReader(request.headers.get("content-type", ""), limits)
        body.check_size(request.headers, limits.max_form_bytes)
        with self._desk.drain.busy(), self._desk.bodies.share() as share:
            share.grow(UPLOAD_BYTES)
            chunks = _received(request.receive, form, limits, self._timeout_s(limits))
            file_id, num_bytes = await files.upload(tenant, chunks)
            about = await files.keep(tenant, file_id, num_bytes, form.filename, "batch", _life_s(form.fields))
        return json_response(about.told())

    async def list(self, request: Request) -> Response:
        """GET /v1/files."""
        page = Page.of(request.query_params, default_limit=MOST_PER_PAGE, most=MOST_PER_PAGE)
        abouts, has_more = await self._desk.jobs.files.page(
            tenant_of(request), page, request.query_params.get("purpose")
        )
        told: FileList = {
            "object": "list",
            "data": [about.told() for about in abouts],
            "first_id": abouts[0].id if abouts else None,
            "last_id": abouts[-1].id if abouts else None,
            "has_more": has_more,
        }
        return json_response(told)

    async def get(self, request: Request) -> Response:
        """GET /v1/files/{id}."""
        about = await self._desk.jobs.files.get(tenant_of(request), request.path_params["id"])
        return json_response(about.told())

    async def content(self, request: Request) -> Response:
        """GET /v1/files/{id}/content."""
        files, file_id = self._desk.jobs.files, request.path_params["id"]
        about = await files.get(tenant_of(request), file_id)
        content = await files.open(tenant_of(request), file_id)
        return Download(content, about.num_bytes, file_id, self._desk.settings.write_timeout_s)

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/files/{id}."""
        files, file_id = self._desk.jobs.files, request.path_params["id"]
        await files.get(tenant_of(request), file_id)
        await files.drop(tenant_of(request), file_id)
        told: FileDeleted = {"id": file_id, "object": "file", "deleted": True}
        return json_response(told)

    def _timeout_s(self, limits: FormLimits) -> float:
        """For a whole form: in proportion to its size as long as any other body has."""
        settings = self._desk.settings
        return settings.body_timeout_s * max(1.0, limits.max_form_bytes / settings.max_body_bytes)


def tenant_of(request: Request) -> str:
    """Who asks."""
    tenant: str = request.scope["principal"].tenant
    return tenant


async def _received(receive: Receive, form: FormReader, limits: FormLimits, timeout_s: float) -> AsyncIterator[bytes]:
    """The bytes of the file as they come. Raises HttpError, or ClientDisconnect if the client left."""
    ends_s, num_bytes, more = time.monotonic() + timeout_s, 0, True
    while more:
        try:
            async with asyncio.timeout(ends_s - time.monotonic()):
                message = await receive()
        except TimeoutError as error:
            raise HttpError(
                f"The file did not arrive within {timeout_s:.0f} s.", code="request_timeout", status=408
            ) from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        num_bytes += len(chunk := message.get("body", b""))
        if num_bytes > limits.max_form_bytes:
            raise too_large(limits.max_file_bytes)
        if piece := form.feed(chunk):
            yield piece
        more = message.get("more_body", False)
    form.end()
    _check(form.fields)


def _check(fields: dict[str, str]) -> None:
    """Raises HttpError for a form that asks for what there is not."""
    if fields.get("purpose") != "batch":
        code = "invalid_value" if "purpose" in fields else "missing_required_parameter"
        raise HttpError("purpose is batch: files are for nothing else here.", code=code, param="purpose")
    _life_s(fields)


def _life_s(fields: dict[str, str]) -> int | None:
    """``expires_after`` in seconds, if it is there. Raises HttpError."""
    if _ANCHOR not in fields and _SECONDS not in fields:
        return None
    if fields.get(_ANCHOR) != "created_at":
        raise HttpError(f"{_ANCHOR} is created_at.", code="invalid_value", param=_ANCHOR)
    return checked_int(fields.get(_SECONDS, ""), MIN_EXPIRY_S, MAX_EXPIRY_S, _SECONDS)
