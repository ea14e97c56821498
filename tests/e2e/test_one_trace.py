"""A request is one connected trace through every process, as a collector receives it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from tests.conftest import LocalCluster, running_cluster
from tests.e2e.media import png, wav
from tests.otlp_lab import Collector, Span, collector
from trichord.client import OmniClient, audio, image, user
from trichord.errors import MediaError
from trichord.v1 import decoder_pb2, gateway_pb2

GATEWAY, VISION, AUDIO, DECODER = "gateway", "vision-encoder", "audio-encoder", "llm-decoder"
CHAT, IMAGE = "trichord.v1.OmniService/Chat", "trichord.v1.VisionEncoderService/EncodeImage"
SOUND, GENERATE = "trichord.v1.AudioEncoderService/EncodeAudio", "trichord.v1.DecoderService/Generate"
COUNT = "trichord.v1.DecoderService/CountTokens"
Place = tuple[str, str]
"""A service and the name of a span."""


class Observed(NamedTuple):
    cluster: LocalCluster
    collector: Collector


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    """A cluster of real processes that tells a collector of ours."""
    with pytest.MonkeyPatch.context() as environment, collector() as receiving:
        environment.setenv("TRICHORD_TELEMETRY_OTLP_URL", receiving.url)
        with running_cluster("test-trace", "tiny", "float32") as cluster:
            yield Observed(cluster, receiving)


def paths(spans: list[Span]) -> set[tuple[Place, ...]]:
    """For each span the way from the root to it."""
    by_id = {span.span_id: span for span in spans}

    def path(span: Span) -> tuple[Place, ...]:
        above = path(by_id[span.parent_id]) if span.parent_id else ()
        return (*above, (span.service, span.name))

    return {path(span) for span in spans}


def is_whole(spans: list[Span]) -> bool:
    """Something has come, and every parent of it."""
    ids = {span.span_id for span in spans}
    return bool(spans) and all(span.parent_id in ids or not span.parent_id for span in spans)


def has(*places: Place):
    """Whether a trace is whole and has these spans."""

    def told(spans: list[Span]) -> bool:
        return is_whole(spans) and set(places) <= {(span.service, span.name) for span in spans}

    return told


async def ask(observed: Observed, *parts: gateway_pb2.Part | str, max_tokens: int = 8) -> gateway_pb2.ChatFinished:
    sampling = decoder_pb2.SamplingParams(max_tokens=max_tokens, ignore_eos=True)
    async with OmniClient(observed.cluster.gateway) as client:
        events = [event async for event in client.chat([user(*parts)], sampling, timeout_s=60)]
    return events[-1].finished


def without_tritons_own(spans: list[Span]) -> list[Span]:
    """The trace without the spans that Triton 24.10 tells of most requests, but not of all, each child moved up."""
    own = {span.span_id: span.parent_id for span in spans if span.service.endswith("-triton")}
    kept = [span for span in spans if span.span_id not in own]
    for index, span in enumerate(kept):
        parent = span.parent_id
        while parent in own:
            parent = own[parent]
        kept[index] = span._replace(parent_id=parent)
    return kept


def in_model(service: str, model: str) -> list[tuple[Place, ...]]:
    """What an encoder's model tells, below the front's span of the call."""
    client, inside = (service, f"triton {model}"), f"{service}-model"
    return [(client,), (client, (inside, "triton queue")), (client, (inside, "encode batch"))]


async def test_an_image_and_a_sound_are_one_connected_trace(observed: Observed) -> None:
    finished = await ask(observed, "look", image(png(300, 170)), "and listen", audio(wav(2.0)))
    spans = observed.collector.until(
        finished.receipt.trace_id, lambda spans: is_whole(spans) and expected() <= paths(without_tritons_own(spans))
    )
    assert [span.name for span in spans if not span.parent_id] == [CHAT]
    assert not [span for span in spans if span.is_error]
    assert all(span.start_ns <= span.end_ns for span in spans)


def expected() -> set[tuple[Place, ...]]:
    """The ways that the trace of an image and a sound has, all of them and no guess among them."""
    root = (GATEWAY, CHAT)
    chat = (root, (GATEWAY, "chat tiny"))
    item = (*chat, (GATEWAY, "encode item"))
    vision = (*item, (GATEWAY, IMAGE), (VISION, IMAGE))
    sound = (*item, (GATEWAY, SOUND), (AUDIO, SOUND))
    generate = (*chat, (GATEWAY, GENERATE), (DECODER, GENERATE))
    engine = (*generate, (DECODER, "triton llama"))
    return {
        (root,),
        chat,
        (*chat, (GATEWAY, "admit")),
        (*chat, (GATEWAY, "check")),
        (*chat, (GATEWAY, "check"), (GATEWAY, COUNT), (DECODER, COUNT)),
        (*chat, (GATEWAY, "merge")),
        (*chat, (GATEWAY, "lane")),
        (*item, (GATEWAY, "store lookup")),
        (*item, (GATEWAY, "lane")),
        (*vision, (VISION, "decode")),
        *((*vision, *below) for below in in_model(VISION, "siglip")),
        (*sound, (AUDIO, "decode")),
        *((*sound, *below) for below in in_model(AUDIO, "whisper")),
        (*generate, (DECODER, "prepare")),
        engine,
        (*engine, ("llm-decoder-model", "triton queue")),
        (*engine, ("llm-decoder-model", "engine queue")),
        (*engine, ("llm-decoder-model", "prefill")),
        (*engine, ("llm-decoder-model", "decode")),
    }


async def test_tritons_own_spans_are_part_of_it(observed: Observed) -> None:
    """Of the most requests: asked until one has them."""
    for size in range(50, 90):
        finished = await ask(observed, image(png(size, 60)))
        spans = observed.collector.until(
            finished.receipt.trace_id, has(("llm-decoder-model", "decode"), (GATEWAY, CHAT))
        )
        await asyncio.sleep(2)  # Triton tells once a second
        spans = observed.collector.trace(finished.receipt.trace_id)
        front = (VISION, "triton siglip")
        triton = "vision-encoder-triton"
        chain = (front, (triton, "InferRequest"), (triton, "siglip"), (triton, "compute"))
        if is_told := any(path[-4:] == chain for path in paths(spans)):
            break
    assert is_told, "Triton told nothing of forty requests"


async def test_a_second_look_encodes_nothing(observed: Observed) -> None:
    picture = image(png(90, 90))
    await ask(observed, picture)
    finished = await ask(observed, picture)
    spans = observed.collector.until(finished.receipt.trace_id, has(("llm-decoder-model", "decode"), (GATEWAY, CHAT)))
    assert not [span for span in spans if span.service.startswith(VISION)]
    (item,) = [span for span in spans if span.name == "encode item"]
    assert item.attributes["trichord.embedding.source"] == "store"


async def test_a_refused_image_is_red_where_it_was_refused(observed: Observed) -> None:
    caller = SpanContext(RandomIdGenerator().generate_trace_id(), 1, is_remote=False, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(caller)), pytest.raises(MediaError):
        await ask(observed, image(b"no image"))
    theirs = trace.format_trace_id(caller.trace_id)
    (root,) = await until_linked(observed, theirs)
    spans = observed.collector.until(root.trace_id, has((GATEWAY, CHAT), (VISION, IMAGE)))
    origins = [span for span in spans if span.attributes.get("trichord.error.origin")]
    assert {(span.service, span.attributes["error.type"]) for span in origins if span.service == VISION} == {
        (VISION, "INVALID_MEDIA")
    }
    assert observed.collector.trace(theirs) == [], "a stranger's trace is linked to, and not gone on with"


async def test_a_caller_who_leaves_is_seen_in_the_engine(observed: Observed) -> None:
    caller = SpanContext(RandomIdGenerator().generate_trace_id(), 1, is_remote=False, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(caller)):
        sampling = decoder_pb2.SamplingParams(max_tokens=1500, ignore_eos=True)
        async with OmniClient(observed.cluster.gateway) as client:
            answer = client.chat([user("go on and on")], sampling, timeout_s=60)
            async with contextlib.aclosing(answer) as events:
                async for event in events:
                    if event.HasField("token"):
                        break
    (root,) = await until_linked(observed, trace.format_trace_id(caller.trace_id))
    spans = observed.collector.until(root.trace_id, has((GATEWAY, CHAT), ("llm-decoder-model", "decode")))
    told = {(span.service, span.name): span.attributes.get("error.type") for span in spans}
    assert told[GATEWAY, CHAT] == "CANCELLED"
    assert told["llm-decoder-model", "decode"] == "CANCELLED"


async def until_linked(observed: Observed, trace_id: str) -> list[Span]:
    """The server spans that link to a trace of a caller's."""
    async with asyncio.timeout(60):
        while not (roots := _linked(observed, trace_id)):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    return roots


def _linked(observed: Observed, trace_id: str) -> list[Span]:
    return [span for span in observed.collector.spans if trace_id in span.links and not span.parent_id]
