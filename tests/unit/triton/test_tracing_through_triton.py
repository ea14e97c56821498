"""One trace through a real Triton: from the fronts' own code, over the server's spans, into simulated models."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from PIL import Image

from llm_decoder.engine_client import EngineClient
from llm_decoder.front import DecoderFront
from llm_decoder.intake import Intake
from llm_decoder.settings import DecoderSettings
from llm_decoder.vocabulary import Vocabulary
from tests.conftest import free_ports
from tests.spans_lab import RecordedSpans
from trichord import server
from trichord.checkpoint.presets import PRESETS
from trichord.simulation.checkpoint import write_weightless
from trichord.telemetry import names, spans
from trichord.triton import runtime
from trichord.triton.client import TritonClient
from trichord.triton.repository import model_repository, render
from trichord.v1 import decoder_pb2, decoder_pb2_grpc
from vision_encoder.front import VisionFront
from vision_encoder.prepare import Preparer
from vision_encoder.settings import VisionSettings

CONFIG = PRESETS["tiny"]
READY_TIMEOUT_S = 200.0


class Received(NamedTuple):
    """A span that reached the collector."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, in protobuf from us and in JSON from Triton."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiving)
        self.spans: list[Received] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def services_of(self, name: str) -> set[str]:
        return {span.service for span in self.spans if span.name == name}


class _Receiving(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        is_json = "json" in self.headers["Content-Type"]
        self.server.spans += _of_json(json.loads(body)) if is_json else _of_protobuf(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def _of_protobuf(body: bytes) -> Iterator[Received]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        (service,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            attributes = {attribute.key: str(attribute.value.int_value) for attribute in span.attributes}
            ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
            yield Received(service, span.name, *ids, attributes)


def _of_json(body: dict) -> Iterator[Received]:
    for resource in body["resourceSpans"]:
        told = {a["key"]: a["value"] for a in resource["resource"]["attributes"]}
        for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
            ids = span["traceId"], span["spanId"], span.get("parentSpanId", "")
            yield Received(told["service.name"]["stringValue"], span["name"], *ids, {})


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, daemon=True)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_weightless(CONFIG, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@contextlib.asynccontextmanager
async def serving(
    triton: runtime.Triton, repository: Path, checkpoint: Path, otlp_url: str
) -> AsyncIterator[TritonClient]:
    """A client of a Triton with two simulated models; it has ended when the block has."""
    for package in ("vision_encoder", "llm_decoder"):
        render(model_repository(package), repository, "float32")
    port = free_ports()
    model_env = {
        "TRICHORD_MODEL_CHECKPOINT": str(checkpoint),
        "TRICHORD_MODEL_DTYPE": "float32",
        "TRICHORD_MODEL_BACKEND": "simulated",
        "TRICHORD_TELEMETRY_OTLP_URL": otlp_url,
        "TRICHORD_TELEMETRY_EXPORT_INTERVAL_S": "60",  # what comes sooner came because the model ended
    }
    command = runtime.command(
        triton,
        repository,
        grpc_port=port,
        metrics_port=port + 1,
        shm_prefix=f"trichord-traced-{os.getpid()}-",
        threads=1,
        model_env=model_env,
        service="the-triton",
        otlp_url=otlp_url,
        exit_timeout_s=60,  # on a busy machine, models take longer to end than they are usually given
    )
    log = repository.with_name("triton.log")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command.argv, env={**os.environ, **command.env}, stdout=output, stderr=output
        )
    client = TritonClient(f"127.0.0.1:{port}", 1 << 24)
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not (await client.model_ready("siglip") and await client.model_ready("llama")):
                assert process.returncode is None, "Triton ended"
                await asyncio.sleep(0.1)
        yield client
    finally:
        await client.close()
        process.terminate()
        assert await process.wait() == 0, f"models were cut off: {log.read_text()[-4000:]}"


async def encode_images(client: TritonClient, checkpoint: Path, count: int) -> None:
    """Has the vision front encode images at once, each in a trace of its own."""
    settings = VisionSettings(checkpoint=checkpoint, triton="", dtype="float32", backend="simulated")
    preparer, file = Preparer(CONFIG, settings), io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    front = VisionFront(CONFIG, "f" * 64, preparer, client, settings)

    async def encode() -> None:
        with spans.span("an image"):
            await front.encode(file.getvalue(), timeout_s=60)

    await asyncio.gather(*(encode() for _ in range(count)))
    preparer.close()


async def chat(client: TritonClient, checkpoint: Path) -> int:
    """Has the decoder's front answer over gRPC; tells how many tokens came."""
    settings = DecoderSettings(checkpoint=checkpoint, triton="", listen="127.0.0.1:0", dtype="float32")
    vocabulary = Vocabulary.read(checkpoint, CONFIG.llm.vocab_size)
    intake = Intake(CONFIG, settings, vocabulary, [])
    engine = EngineClient(client, intake.template.stop_ids, "simulated")
    front = DecoderFront(intake, vocabulary, engine, default_deadline_s=60)
    running = await server.start(front.register, settings)
    message = decoder_pb2.DecoderMessage(role=decoder_pb2.ROLE_USER, parts=[decoder_pb2.DecoderPart(text="hi")])
    request = decoder_pb2.GenerateRequest(
        messages=[message], sampling=decoder_pb2.SamplingParams(max_tokens=5, ignore_eos=True)
    )
    async with server.open_channel(f"127.0.0.1:{running.port}", 1 << 20) as channel:
        stub = decoder_pb2_grpc.DecoderServiceStub(channel)
        answer = [event async for event in stub.Generate(request, timeout=60)]
    await running.server.stop(0)
    return answer[-1].finished.completion_tokens


def in_process_names(recorded_spans: RecordedSpans) -> dict[str, str]:
    return {format(span.context.span_id, "016x"): span.name for span in recorded_spans.ended}


async def test_one_tree_from_the_fronts_through_triton_into_the_models(
    triton: runtime.Triton, tmp_path: Path, checkpoint: Path, collector: Collector, recorded_spans: RecordedSpans
) -> None:
    async with serving(triton, tmp_path / "repository", checkpoint, collector.url) as client:
        await encode_images(client, checkpoint, count=8)
        assert await chat(client, checkpoint) == 5
        recorded_spans.switch.is_on = False
        await encode_images(client, checkpoint, count=1)
        assert await chat(client, checkpoint) == 5

    span_names = in_process_names(recorded_spans) | {span.span_id: span.name for span in collector.spans}
    tree = {(span.name, span_names.get(span.parent_id, "nobody")) for span in collector.spans}
    # Of a few requests Triton does not tell the model its span (a race in 24.10): then the front's is the parent.
    through = {("encode batch", "triton siglip"): ("encode batch", "siglip")}
    assert {through.get(pair, pair) for pair in tree} == {
        *[("InferRequest", "triton siglip"), ("siglip", "InferRequest"), ("compute", "siglip")],
        *[("triton queue", "triton siglip"), ("encode batch", "siglip")],
        *[(name, "triton llama") for name in ("triton queue", "engine queue", "prefill", "decode")],
    }
    assert collector.services_of("encode batch") == {"vision-encoder-model"}
    assert collector.services_of("decode") == {"llm-decoder-model"}
    assert collector.services_of("InferRequest") == {"the-triton"}
    recorded = {format(span.context.trace_id, "032x") for span in recorded_spans.ended}
    assert {span.trace_id for span in collector.spans} == recorded, "and nothing of what is not recorded"
    batches = [span for span in collector.spans if span.name == "encode batch"]
    assert len(batches) == len({span.trace_id for span in batches}) == 8
    assert {span.attributes[names.BATCH_SIZE] for span in batches} != {"1"}, "requests of several traces batch"


async def test_a_collector_that_is_away_costs_no_answer(
    triton: runtime.Triton, tmp_path: Path, checkpoint: Path, recorded_spans: RecordedSpans
) -> None:
    nobody = f"http://127.0.0.1:{free_ports() + 2}"
    async with serving(triton, tmp_path / "repository", checkpoint, nobody) as client:
        await encode_images(client, checkpoint, count=2)
        assert await chat(client, checkpoint) == 5
    assert recorded_spans.named("triton llama")
