"""Traces as a cluster's spans make them, and a keeper of traces that serves."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from local_cluster.traces.app import application
from local_cluster.traces.settings import TracesSettings
from local_cluster.traces.span import Event, Span
from local_cluster.traces.store import TraceStore
from trichord.http_server import HttpServer, listen
from trichord.telemetry import names

MS = 1_000_000
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
REQUEST_ID = "req_5c1d8a9e0b7f4c3d"
CHAT = "trichord.v1.OmniService/Chat"


def span(
    span_id: int, parent: int = 0, name: str = "work", start_ms: float = 0, end_ms: float = 1, **fields: Any
) -> Span:
    """A span of the gateway's unless ``fields`` say otherwise; it has failed if it is given an ``error``."""
    error = fields.pop("error", "")
    told = {names.ERROR_TYPE: error} if error else {}
    origin_ns = fields.pop("origin_ns", 1_790_000_000 * 1000 * MS)
    defaults = {"trace_id": TRACE_ID, "service": "gateway", "instance": "host:1", "kind": "internal"}
    return Span(
        span_id=f"{span_id:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        name=name,
        start_ns=origin_ns + round(start_ms * MS),
        end_ns=origin_ns + round(end_ms * MS),
        is_failed=bool(error),
        attributes={**told, **fields.pop("attributes", {})},
        **{**defaults, **fields},
    )


def chat_trace(trace_id: str = TRACE_ID, origin_ns: int | None = None, error: str = "") -> list[Span]:
    """An image and a sound, answered; or cut short where the image is decoded."""
    origin_ns = origin_ns or time.time_ns() - 2000 * MS
    about = {names.REQUEST_ID: REQUEST_ID, names.REQUEST_MODEL: "smol", names.OPERATION: "chat"}

    def at(number: int, parent: int, service: str, name: str, start_ms: float, end_ms: float, **fields: Any) -> Span:
        own = {"service": service, "trace_id": trace_id, "origin_ns": origin_ns, **fields}
        return span(number, parent, name, start_ms, end_ms, **own)

    image, sound = {names.MODALITY: "image", names.UNITS: 4}, {names.MODALITY: "audio", names.UNITS: 1}
    vision, audio = "trichord.v1.VisionEncoderService/EncodeImage", "trichord.v1.AudioEncoderService/EncodeAudio"
    end_ms = 60 if error else 1240
    began = [
        at(1, 0, "gateway", CHAT, 0, end_ms, kind="server", attributes={names.RPC_METHOD: CHAT}, error=error),
        at(2, 1, "gateway", "chat smol", 0.4, end_ms - 0.3, attributes={**about, names.OUTPUT_TOKENS: 48}, error=error),
        at(3, 2, "gateway", "admit", 0.5, 2.1),
        at(4, 2, "gateway", "encode image", 2.2, 58 if error else 182, attributes=image, error=error),
        at(5, 4, "gateway", "store lookup", 2.3, 3.4),
        at(6, 4, "gateway", vision, 3.6, 57.5 if error else 181, kind="client", error=error),
        at(7, 6, "vision-encoder", vision, 4.9, 57 if error else 180, kind="server", error=error),
        at(
            8,
            7,
            "vision-encoder",
            "decode image",
            5.1,
            56 if error else 21,
            attributes={names.ERROR_ORIGIN: True} if error else {},
            error=error,
        ),
    ]
    if error:
        return began
    first_token, generate = (Event(names.FIRST_TOKEN, origin_ns + 305 * MS, {}),), "trichord.v1.DecoderService/Generate"
    return [
        *began,
        at(
            9,
            7,
            "vision-encoder-triton",
            "InferRequest",
            22,
            179.5,
            events=(Event("QUEUE_START", origin_ns + 22 * MS, {}), Event("COMPUTE_START", origin_ns + 30 * MS, {})),
        ),
        at(10, 9, "vision-encoder-triton", "siglip", 22.1, 179),
        at(11, 10, "vision-encoder-model", "vision forward", 30.5, 178, attributes={names.BATCH_SIZE: 4}),
        at(12, 2, "gateway", "encode audio", 2.2, 96, attributes=sound),
        at(13, 12, "gateway", audio, 3.7, 95.5, kind="client"),
        at(14, 13, "audio-encoder", audio, 4.6, 95, kind="server"),
        at(15, 14, "audio-encoder", "decode audio", 4.8, 14),
        at(16, 14, "audio-encoder-triton", "InferRequest", 15, 94.5),
        at(17, 16, "audio-encoder-model", "audio forward", 17, 94, attributes={names.UNITS: 1}),
        at(18, 2, "gateway", "merge", 182.5, 184),
        at(19, 2, "gateway", generate, 184.4, 1239, kind="client", events=first_token),
        at(20, 19, "llm-decoder", generate, 185.6, 1238.5, kind="server"),
        at(21, 20, "llm-decoder", "tokenize", 185.8, 187),
        at(22, 20, "llm-decoder-triton", "InferRequest", 188, 1238),
        at(23, 22, "llm-decoder-model", "queue", 189, 201),
        at(24, 22, "llm-decoder-model", "prefill", 201, 304, attributes={names.TOKENS: 312}),
        at(25, 22, "llm-decoder-model", "decode", 304, 1237, attributes={names.TOKENS: 48}),
    ]


def filled(spans: Iterable[Span], **settings: int) -> TraceStore:
    """A store that was given these."""
    store = TraceStore(TracesSettings(**settings))
    for one in spans:
        store.add(one)
    return store


@asynccontextmanager
async def serving(store: TraceStore) -> AsyncIterator[str]:
    """Serves on a free port of loopback; yields the base URL."""
    listener = listen("127.0.0.1:0")
    server = HttpServer(application(store))
    server.start(listener, "traces")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await server.stop()
