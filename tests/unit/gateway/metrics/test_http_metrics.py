"""The HTTP face in metrics: every request, under names that are ours whatever a client makes up; and no page there."""

from __future__ import annotations

import asyncio

import pytest

from tests.metrics_lab import Page
from tests.unit.gateway.fakes import STARTED, Events, chunk, forever
from tests.unit.gateway.openai_http.http_lab import HttpLab
from trichord.v1 import decoder_pb2

DURATION = "http_server_request_duration_seconds"


def told(method: str, route: str, status: int) -> dict[str, str]:
    return {"http_request_method": method, "http_route": route, "http_response_status_code": str(status)}


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/healthz", "/healthz", 200),
        ("GET", "/v1/models", "/v1/models", 200),
        ("GET", "/v1/models/fake", "/v1/models/{id:path}", 200),
        ("GET", "/v1/models/made/up/name", "/v1/models/{id:path}", 404),
        ("DELETE", "/v1/chat/completions", "/v1/chat/completions", 405),
        ("GET", "/secret/path", "-", 404),
        ("BREW", "/v1/models", "/v1/models", 405),
        ("BREW", "/coffee", "-", 404),
    ],
)
async def test_requests_are_known_by_their_routes_template(
    http: HttpLab, page: Page, method: str, path: str, route: str, status: int
) -> None:
    assert (await http.client.request(method, path)).status_code == status
    method = "_OTHER" if method == "BREW" else method
    assert page.labels(f"{DURATION}_count") == [told(method, route, status)]


async def test_a_stream_lasts_until_its_end(http: HttpLab, page: Page) -> None:
    async def slow(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Hel", 1)
        await asyncio.sleep(0.3)
        yield decoder_pb2.GenerateResponse(finished=decoder_pb2.GenerateFinished())

    http.lab.decoder.answer = slow
    await http.complete(stream=True)
    await page.until(1, f"{DURATION}_count", **told("POST", "/v1/chat/completions", 200))
    assert page.gained(f"{DURATION}_sum") >= 0.3


async def test_a_client_that_leaves_is_a_499(http: HttpLab, page: Page) -> None:
    async def stuck(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        await forever(b"")

    http.lab.decoder.answer = stuck
    asking = asyncio.create_task(http.complete())
    await http.lab.decoder.calls.entered.wait()
    asking.cancel()
    await page.until(1, f"{DURATION}_count", **told("POST", "/v1/chat/completions", 499))


async def test_the_face_has_no_metrics_page(http: HttpLab, page: Page) -> None:
    with_key = await http.client.get("/metrics")
    without = await http.client.get("/metrics", headers={"authorization": ""})
    assert (with_key.status_code, without.status_code) == (404, 401)
    assert DURATION in page.text()
    assert DURATION not in with_key.text + without.text
