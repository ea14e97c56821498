"""The way to where traces are looked at: public, and nowhere but there."""

from __future__ import annotations

import httpx2
import pytest

from gateway.openai_http.settings import HttpSettings
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import running_http
from trichord.errors import SettingsError

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
JAEGER, GRAFANA = "https://jaeger.example:16686/trace/{trace_id}", "http://grafana/explore?left=%7B{trace_id}%7D"


async def visit(lab: Lab, traces_url: str, path: str) -> httpx2.Response:
    """As a browser that follows a link: without a key."""
    async with running_http(lab, traces_url=traces_url) as http:
        return await http.client.get(path, headers={"authorization": ""}, follow_redirects=False)


@pytest.mark.parametrize(
    ("template", "path", "target"),
    [
        (JAEGER, f"/traces/{TRACE_ID}", f"https://jaeger.example:16686/trace/{TRACE_ID}"),
        (GRAFANA, f"/traces/{TRACE_ID}", f"http://grafana/explore?left=%7B{TRACE_ID}%7D"),
        (JAEGER, "/traces", "https://jaeger.example:16686/"),
    ],
)
async def test_a_trace_is_found_where_the_setting_says(lab: Lab, template: str, path: str, target: str) -> None:
    answer = await visit(lab, template, path)
    assert (answer.status_code, answer.headers["location"]) == (302, target)


@pytest.mark.parametrize(
    "name", ["x", TRACE_ID.upper(), TRACE_ID + "0", f"{TRACE_ID}%0a", "..", "%2e%2e", "a" * 31 + "@"]
)
async def test_what_is_no_trace_id_leads_nowhere(lab: Lab, name: str) -> None:
    answer = await visit(lab, JAEGER, f"/traces/{name}")
    assert answer.status_code in (401, 404)
    assert "location" not in answer.headers


@pytest.mark.parametrize("path", ["/traces", f"/traces/{TRACE_ID}"])
async def test_without_the_setting_there_is_no_such_path(lab: Lab, path: str) -> None:
    assert (await visit(lab, "", path)).status_code == 401
    async with running_http(lab) as http:
        assert (await http.client.get(path)).status_code == 404


@pytest.mark.parametrize(
    "path", [f"/traces/{TRACE_ID}/x", "/traces/", f"/v1/models/traces/{TRACE_ID}", "/traces/%7Btrace_id%7D/v1"]
)
async def test_no_other_path_is_opened_by_it(lab: Lab, path: str) -> None:
    assert (await visit(lab, JAEGER, path)).status_code == 401


@pytest.mark.parametrize(
    "url", ["javascript:{trace_id}", "http://jaeger/trace", "//evil/{trace_id}", "http://a b/{trace_id}"]
)
def test_a_setting_that_is_no_template_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TRICHORD_HTTP_TRACES_URL", url)
    with pytest.raises(SettingsError, match="TRICHORD_HTTP_TRACES_URL"):
        HttpSettings.from_environment()
