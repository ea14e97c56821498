"""/openapi.json, made from the very types that requests are checked by, and /docs, a page that reads it.

The page is three static files of our own; its policy lets it load nothing from elsewhere.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import trichord
from gateway.openai_http import job_documentation
from gateway.openai_http.event_stream import to_json
from gateway.openai_http.parameters import IGNORED
from gateway.openai_http.refusals import ErrorBody
from gateway.openai_http.responses import Chunk, Completion, Model, ModelList
from gateway.openai_http.schema import CompletionRequest

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    "/docs": ("index.html", "text/html"),
    "/docs/docs.css": ("docs.css", "text/css"),
    "/docs/docs.js": ("docs.js", "text/javascript"),
}
_TYPES: dict[str, Any] = {
    "CompletionRequest": CompletionRequest,
    "Completion": Completion,
    "Chunk": Chunk,
    "Model": Model,
    "ModelList": ModelList,
    "ErrorBody": ErrorBody,
    **job_documentation.TYPES,
}
_EXAMPLE = {
    "model": "MODEL",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_completion_tokens": 64,
    "temperature": 0,
    "stream": True,
}


def routes() -> list[Route]:
    """The pages, each with its content made now."""
    openapi = _static(to_json(document()), "application/json")
    pages = [
        Route(path, _static(_read(file), media_type), methods=["GET"]) for path, (file, media_type) in _FILES.items()
    ]
    return [Route("/openapi.json", openapi, methods=["GET"]), *pages]


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    adapters = [(name, "validation", TypeAdapter(kind)) for name, kind in _TYPES.items()]
    _, definitions = TypeAdapter.json_schemas(
        adapters,  # type: ignore[arg-type]
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trichord",
            "version": trichord.__version__,
            "description": "Image, sound and text in, streamed text out, as OpenAI's clients speak.",
        },
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> dict[str, Any]:
    ignored = ", ".join(IGNORED)
    body = {"schema": _ref("CompletionRequest"), "example": _EXAMPLE}
    return {
        "/v1/chat/completions": {
            "post": {
                "summary": "Answer a conversation",
                "description": f"Streams server-sent events if asked to. Accepted without effect: {ignored}. "
                "OpenAI's other parameters are refused with unsupported_parameter; unknown ones are ignored.",
                "parameters": [
                    {
                        "name": "Idempotency-Key",
                        "in": "header",
                        "description": "The first success under a key is the answer to all requests with it.",
                        "schema": {"type": "string", "maxLength": 255},
                    }
                ],
                "requestBody": {"required": True, "content": {"application/json": body}},
                "responses": {
                    "200": {
                        "description": "The answer.",
                        "content": {
                            "application/json": {"schema": _ref("Completion")},
                            "text/event-stream": {"schema": _ref("Chunk")},
                        },
                    },
                    "default": _error(),
                },
            }
        },
        "/v1/models": {"get": _getting("List what is served", "ModelList")},
        "/v1/models/{id}": {
            "get": {
                **_getting("Tell of one model", "Model"),
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            }
        },
        **job_documentation.paths(),
        "/healthz": {"get": {**_probe("Whether the process runs"), "security": []}},
        "/readyz": {"get": {**_probe("Whether clients may come"), "security": []}},
    }


def _getting(summary: str, kind: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(kind)}}
    return {"summary": summary, "responses": {"200": {"description": kind, "content": content}, "default": _error()}}


def _probe(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "Yes."}, "503": {"description": "No."}}}


def _error() -> dict[str, Any]:
    return {"description": "Refused.", "content": {"application/json": {"schema": _ref("ErrorBody")}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _static(content: bytes, media_type: str) -> Any:
    headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}

    async def page(request: Request) -> Response:
        return Response(content, headers=headers, media_type=media_type)

    return page


def _read(file: str) -> bytes:
    return (resources.files(__package__) / "docs_page" / file).read_bytes()
