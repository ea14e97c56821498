"""/v1/batches: many chat completions in one file, answered into another when there is room.

A batch is a job whose items are the lines of its file. https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from gateway.openai_http import batch_view, body, idempotency, parameters, strict_json
from gateway.openai_http.batch_records import BatchState
from gateway.openai_http.desk import Desk
from gateway.openai_http.file_shapes import Batch, BatchList, BatchRequest
from gateway.openai_http.files import tenant_of
from gateway.openai_http.listing import MAX_LIMIT, Page
from gateway.openai_http.refusals import HttpError
from gateway.openai_http.replies import json_response
from trichord.errors import NotFoundError
from trichord.telemetry import spans

DEFAULT_PER_PAGE = 20
"""As OpenAI's API has it."""


class Batches:
    """The routes' handlers. Each refuses with FeatureOffError where jobs are off."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create(self, request: Request) -> Response:
        """POST /v1/batches."""
        jobs, tenant = self._desk.jobs, tenant_of(request)
        with self._desk.drain.busy(), self._desk.bodies.share() as share:
            raw = await body.read(request.headers, request.receive, self._desk.settings, share)
            wanted = parameters.validated(BatchRequest, strict_json.parse_object(raw))
            await self._check(wanted, tenant)
            key = idempotency.key_of(request.headers)
            state = await jobs.batches.create(tenant, wanted, key, spans.traceparent())
            jobs.keeper.wake()
            return json_response(await self._told(state))

    async def get(self, request: Request) -> Response:
        """GET /v1/batches/{id}."""
        state = await self._desk.jobs.batches.get(tenant_of(request), request.path_params["id"])
        return json_response(await self._told(state))

    async def list(self, request: Request) -> Response:
        """GET /v1/batches."""
        page = Page.of(request.query_params, default_limit=DEFAULT_PER_PAGE, most=MAX_LIMIT)
        states, has_more = await self._desk.jobs.batches.page(tenant_of(request), page)
        batches = list(await asyncio.gather(*map(self._told, states)))
        told: BatchList = {
            "object": "list",
            "data": batches,
            "first_id": batches[0]["id"] if batches else None,
            "last_id": batches[-1]["id"] if batches else None,
            "has_more": has_more,
        }
        return json_response(told)

    async def cancel(self, request: Request) -> Response:
        """POST /v1/batches/{id}/cancel. May be called again."""
        jobs, tenant, batch_id = self._desk.jobs, tenant_of(request), request.path_params["id"]
        state = await jobs.batches.get(tenant, batch_id)
        if state.end is None:
            await jobs.batches.cancel(state)
            jobs.keeper.wake()
            state = await jobs.batches.get(tenant, batch_id)
        elif state.cancelled is None:
            raise HttpError(
                f"The batch is {state.end.status}: it cannot be cancelled.", code="batch_is_over", status=409
            )
        return json_response(await self._told(state))

    async def _check(self, wanted: BatchRequest, tenant: str) -> None:
        """Raises HttpError or NotFoundError for what can be seen to be wrong without reading a line."""
        max_hours = self._desk.jobs.settings.max_deadline_hours
        if int(wanted.completion_window[:-1]) > max_hours:
            message = f"completion_window is 1h to {max_hours}h."
            raise HttpError(message, code="invalid_value", param="completion_window")
        try:
            about = await self._desk.jobs.files.get(tenant, wanted.input_file_id)
        except NotFoundError as error:
            error.at("input_file_id")
            raise
        if about.purpose != "batch":
            raise HttpError("The file's purpose is not batch.", code="invalid_value", param="input_file_id")

    async def _told(self, state: BatchState) -> Batch:
        return batch_view.told(state, await self._desk.jobs.work.job(state))
