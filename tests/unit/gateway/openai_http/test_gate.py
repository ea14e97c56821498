"""Nobody gets in without a key, wherever they knock."""

from __future__ import annotations

import pytest

from gateway.openai_http.routes import build
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import AUTHORIZED, HttpLab, error_of, question, running_http

PUBLIC = {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/docs.css", "/docs/docs.js"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
WRONG = (None, "", "Bearer", "Bearer nobody", "Basic a2V5LW9mLWFjbWU=", "key-of-acme", "Bearer  key-of-acme")


async def test_every_route_without_a_key_is_refused_but_the_public_ones(http: HttpLab) -> None:
    routes = http.routes()
    assert len(routes) == len(build(http.desk).routes) == 12 + len(PUBLIC)
    open_paths = set()
    for route in routes:
        path = route.path.replace("{id:path}", "fake").replace("{id}", "fake")
        for method in METHODS:
            response = await http.client.request(method, path, headers={"authorization": ""})
            if path not in PUBLIC:
                assert response.status_code == 401, (method, path)
        if response.status_code != 401:
            open_paths.add(path)
    assert open_paths == PUBLIC
    assert http.lab.decoder.models.requests == []


@pytest.mark.parametrize("authorization", WRONG)
async def test_a_wrong_key_is_told_so_in_openais_shape(http: HttpLab, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    async with type(http.client)(base_url=http.url) as client:
        response = await client.post("/v1/chat/completions", json=question(), headers=headers)
    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-should-retry"] == "false"
    assert http.lab.decoder.calls.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/v1/models/",
        "//healthz",
        "/healthz/",
        "/HEALTHZ",
        "/healthz%2f..%2fv1/models",
        "/docs/../v1/models",
        "/docs/",
        "/docs/docs.js/../../../v1/models",
        "/v1/models?x=/healthz",
        "/v1/models;/healthz",
    ],
)
async def test_no_way_of_writing_a_path_opens_another(http: HttpLab, path: str) -> None:
    answer = await http.raw(f"GET {path} HTTP/1.1\r\nHost: a/healthz\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_a_key_without_the_scope_is_forbidden(http: HttpLab) -> None:
    response = await http.complete(headers={"authorization": "Bearer key-of-batch"})
    assert response.status_code == 403
    assert error_of(response)["type"] == "permission_error"


async def test_probes_need_no_key(http: HttpLab) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await http.client.get(path, headers={"authorization": ""})).status_code == 200


async def test_documentation_can_be_turned_off(lab: Lab) -> None:
    async with running_http(lab, docs=False) as http:
        for path in PUBLIC - {"/healthz", "/readyz"}:
            assert (await http.client.get(path, headers={"authorization": ""})).status_code == 401
            assert (await http.client.get(path, headers=AUTHORIZED)).status_code == 404
