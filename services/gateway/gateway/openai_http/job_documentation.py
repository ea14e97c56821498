"""What /openapi.json tells of files and batches. Pure."""

from __future__ import annotations

from typing import Any

from gateway.openai_http.batch_lines import BatchLine, LineError
from gateway.openai_http.batch_output import OutputLine
from gateway.openai_http.file_shapes import Batch, BatchList, BatchRequest, FileDeleted, FileList, FileObject

TYPES: dict[str, Any] = {
    "Batch": Batch,
    "BatchLine": BatchLine,
    "BatchList": BatchList,
    "BatchRequest": BatchRequest,
    "FileDeleted": FileDeleted,
    "FileList": FileList,
    "FileObject": FileObject,
    "LineError": LineError,
    "OutputLine": OutputLine,
}

_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_LIMIT = {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1}}
_AFTER = {
    "name": "after",
    "in": "query",
    "description": "The last id of the page before.",
    "schema": {"type": "string"},
}
_ORDER = {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"], "default": "desc"}}
_PURPOSE = {"name": "purpose", "in": "query", "schema": {"enum": ["batch", "batch_output"]}}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A batch is made once under a key.",
    "schema": {"type": "string", "maxLength": 255},
}
_UPLOAD = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "JSON lines, each a BatchLine."},
        "purpose": {"const": "batch"},
        "expires_after[anchor]": {"const": "created_at"},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
    },
}
_BATCH_EXAMPLE = {"input_file_id": "FILE", "endpoint": "/v1/chat/completions", "completion_window": "24h"}


def paths() -> dict[str, Any]:
    """The paths, each with its operations."""
    return {
        "/v1/files": {
            "post": {
                **_operation("Keep a file for a batch", "FileObject"),
                "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD}}},
            },
            "get": _operation("List files, newest first", "FileList", _LIMIT, _AFTER, _ORDER, _PURPOSE),
        },
        "/v1/files/{id}": {
            "get": _operation("Tell of one file", "FileObject", _ID),
            "delete": _operation("Delete a file", "FileDeleted", _ID),
        },
        "/v1/files/{id}/content": {"get": _content()},
        "/v1/batches": {
            "post": {
                **_operation("Answer all lines of a file", "Batch", _KEY),
                "description": "Lines that are no requests are told in errors and in the error file; the others run.",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _ref("BatchRequest"), "example": _BATCH_EXAMPLE}},
                },
            },
            "get": _operation("List batches, newest first", "BatchList", _LIMIT, _AFTER, _ORDER),
        },
        "/v1/batches/{id}": {"get": _operation("Tell of one batch", "Batch", _ID)},
        "/v1/batches/{id}/cancel": {"post": _operation("End a batch early", "Batch", _ID)},
    }


def _operation(summary: str, kind: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"summary": summary}
    if parameters:
        told["parameters"] = list(parameters)
    content = {"application/json": {"schema": _ref(kind)}}
    return {**told, "responses": {"200": {"description": kind, "content": content}, "default": _error()}}


def _content() -> dict[str, Any]:
    described = "JSON lines: BatchLine of an input, OutputLine of an output."
    lines = {"schema": {"anyOf": [_ref("BatchLine"), _ref("OutputLine")]}}
    return {
        "summary": "Read a file",
        "parameters": [_ID],
        "responses": {
            "200": {"description": described, "content": {"application/jsonl": lines}},
            "default": _error(),
        },
    }


def _error() -> dict[str, Any]:
    return {"description": "Refused.", "content": {"application/json": {"schema": _ref("ErrorBody")}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
