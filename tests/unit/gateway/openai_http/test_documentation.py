"""The OpenAPI document is whole and true, and the page that shows it loads nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.openai_http import documentation, parameters
from tests.unit.gateway.openai_http.http_lab import HttpLab


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from [node["$ref"]] if "$ref" in node else []
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


async def test_the_document_is_served_and_every_reference_resolves(http: HttpLab) -> None:
    document = (await http.client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    found = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert {"CompletionRequest", "Completion", "Chunk", "ErrorBody"} <= found <= set(schemas)
    assert found == set(schemas)


async def test_every_path_of_the_document_is_there_and_the_reverse(http: HttpLab) -> None:
    served = {re.sub(":path", "", route.path) for route in http.routes()}
    assert set(documentation.document()["paths"]) == {
        path for path in served if not path.startswith(("/docs", "/openapi"))
    }


def test_the_example_is_a_valid_request() -> None:
    operation = documentation.document()["paths"]["/v1/chat/completions"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert parameters.parse(example).model == "MODEL"


def test_every_parameter_of_the_request_is_told() -> None:
    properties = documentation.document()["components"]["schemas"]["CompletionRequest"]["properties"]
    assert {"messages", "response_format", "top_k", "degradation", "stream_options"} <= set(properties)


async def test_the_page_loads_only_its_own_files(http: HttpLab) -> None:
    page = await http.client.get("/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    own = ["/docs/docs.css", "/docs/docs.js", "/openapi.json"]
    assert sorted(loaded) == [*own, "data:,"]
    for path in ("/docs", *own):
        response = await http.client.get(path, headers={"authorization": ""})
        policy = response.headers["content-security-policy"]
        assert response.status_code == 200
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http:" not in response.text
        assert "https:" not in response.text.replace("data:image/...;base64,", "")
        assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search(
        r"<script>|style=|onclick|innerHTML", page.text + (await http.client.get("/docs/docs.js")).text
    )
