"""What comes from outside: a caller's trace is linked to, not obeyed; what a caller says is in no span."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import httpx2
import pytest

from gateway.admission.settings import AdmissionSettings
from gateway.identity.interceptor import AuthInterceptor
from gateway.identity.opening import open_guard
from gateway.identity.settings import AuthSettings
from gateway.openai_http.answering import ClusterCore
from gateway.openai_http.desk import Desk
from gateway.openai_http.routes import build
from gateway.openai_http.serving import serve_http
from gateway.openai_http.settings import HttpSettings
from gateway.service import OmniService
from tests.redis_lab import RedisServer
from tests.spans_lab import RecordedSpans
from tests.unit.gateway.fakes import raising
from tests.unit.gateway.lab import Lab, audio, chat_request, image, refused, running_lab, text
from tests.unit.gateway.openai_http import http_lab
from tests.unit.gateway.tracing.trees import SOON_S, AnyHost, ended, kept
from trichord import server
from trichord.errors import MediaError
from trichord.settings import ServiceSettings
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
CHAT, POST = "trichord.v1.OmniService/Chat", "POST /v1/chat/completions"


@contextlib.asynccontextmanager
async def grpc_edge(lab: Lab, *, trusts_parent: bool) -> AsyncIterator[gateway_pb2_grpc.OmniServiceAsyncStub]:
    """A second door to the lab's gateway."""

    def register(grpc_server: grpc.aio.Server) -> list[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(OmniService(lab.cluster), grpc_server)
        return ["trichord.v1.OmniService"]

    settings = ServiceSettings(listen="127.0.0.1:0")
    guard = AuthInterceptor(open_guard(AuthSettings(), settings.listen))
    running = await server.start(register, settings, interceptors=[guard], trusts_parent=trusts_parent)
    channel = server.open_channel(f"127.0.0.1:{running.port}", 1 << 20)
    yield gateway_pb2_grpc.OmniServiceStub(channel)
    await channel.close()
    await running.server.stop(0)


async def grpc_chat(lab: Lab, traceparent: str, *, trusts_parent: bool) -> None:
    async with grpc_edge(lab, trusts_parent=trusts_parent) as stub:
        async for _ in stub.Chat(chat_request(text()), metadata=[("traceparent", traceparent)], timeout=SOON_S):
            pass


async def http_chat(lab: Lab, traceparent: str, *, trusts_parent: bool) -> None:
    settings = HttpSettings(drain_notice_s=0, drain_timeout_s=0.2)
    desk = Desk(settings, ClusterCore(lab.cluster), http_lab.admit, trusts_parent=trusts_parent)
    async with serve_http(build(desk), settings) as running, httpx2.AsyncClient(timeout=SOON_S) as client:
        url = f"http://127.0.0.1:{running.port}/v1/chat/completions"
        headers = {**http_lab.AUTHORIZED, "traceparent": traceparent}
        assert (await client.post(url, json=http_lab.question(), headers=headers)).status_code == 200


FACES = pytest.mark.parametrize(("ask", "name"), [(grpc_chat, CHAT), (http_chat, POST)], ids=["grpc", "http"])


@FACES
@pytest.mark.parametrize("traceparent", [SAMPLED, UNSAMPLED])
async def test_a_strangers_trace_is_linked_to_and_its_sampling_not_obeyed(
    lab: Lab, recorded: RecordedSpans, ask: object, name: str, traceparent: str
) -> None:
    await ask(lab, traceparent, trusts_parent=False)  # type: ignore[operator]
    await ended(recorded, name)
    served = recorded.one(name)
    assert served.parent is None
    assert f"{served.context.trace_id:032x}" != TRACE
    assert [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in served.links] == [
        f"{TRACE}-{PARENT}"
    ]
    assert recorded.one("chat fake").parent.span_id == served.context.span_id


@FACES
async def test_a_trusted_callers_trace_goes_on_here(lab: Lab, recorded: RecordedSpans, ask: object, name: str) -> None:
    await ask(lab, SAMPLED, trusts_parent=True)  # type: ignore[operator]
    await ended(recorded, name)
    served = recorded.one(name)
    assert (f"{served.context.trace_id:032x}", f"{served.parent.span_id:016x}") == (TRACE, PARENT)
    assert not served.links


@FACES
async def test_a_trusted_caller_decides_that_nothing_is_recorded(
    lab: Lab, recorded: RecordedSpans, ask: object, name: str
) -> None:
    await ask(lab, UNSAMPLED, trusts_parent=True)  # type: ignore[operator]
    assert recorded.ended == ()
    told = [hop["traceparent"] for hop in lab.decoder.calls.metadata]
    assert [header.split("-")[1] for header in told] == [TRACE]
    assert not any(int(header[-2:], 16) & 1 for header in told)


async def test_a_grpc_answer_names_its_trace_and_so_does_an_error(lab: Lab, recorded: RecordedSpans) -> None:
    call = lab.stub.Chat(chat_request(text()), timeout=SOON_S)
    events = [event async for event in call]
    told = dict(await call.trailing_metadata())
    assert told["x-trace-id"] == events[-1].finished.receipt.trace_id
    lab.vision.step = raising(MediaError("No.", field="image"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await lab.ask(image())
    told = dict(caught.value.trailing_metadata())
    await ended(recorded, CHAT, times=2)
    assert told["x-trace-id"] == f"{recorded.named(CHAT)[1].context.trace_id:032x}"
    assert "grpc-status-details-bin" in told


# Nothing of what callers say

WORDS = "xyzzy-canary"


async def canaries(lab: Lab) -> None:
    """Says the word wherever a caller can say something."""
    word, media = WORDS, WORDS.encode()
    sampling = decoder_pb2.SamplingParams(stop=[word])
    metadata = [("authorization", f"Bearer {word}"), ("baggage", f"k={word}"), ("x-my", word)]
    metadata += [("traceparent", SAMPLED), ("tracestate", f"v={word}")]
    lab.cluster.sources._fetcher = AnyHost()  # type: ignore[assignment]
    address = gateway_pb2.Part(image_url=f"https://{word}.example.com/{word}?{word}")
    one = chat_request(text(word), image(media), audio(media), address, sampling=sampling)
    async for _ in lab.stub.Chat(one, metadata=metadata, timeout=SOON_S):
        pass
    await kept(lab)
    wrong = [
        chat_request(text(word), model=word),
        chat_request(gateway_pb2.Part(media_handle=word)),
        chat_request(text(word), request_id=f"{word}\n"),
    ]
    for request in wrong:
        with refused():
            await lab.chat(request)
    lab.vision.step = raising(MediaError(f"Said {word}.", field=word))
    with refused():
        await lab.ask(image(media * 2))


async def http_canaries(lab: Lab) -> None:
    async with http_lab.running_http(lab) as http:
        headers = {
            "authorization": f"Bearer key-of-{WORDS}",
            "idempotency-key": WORDS,
            "user-agent": WORDS,
            "x-my": WORDS,
        }
        parts = [http_lab.text(WORDS), http_lab.audio(WORDS.encode() * 3)]
        answers = [
            await http.complete(headers, **http_lab.question(*parts, user=WORDS)),
            await http.complete(headers, **http_lab.question(*parts, user=WORDS)),
            await http.complete(headers | {"idempotency-key": "2"}, model=WORDS),
            await http.complete({"authorization": f"Bearer {WORDS}"}),
            await http.client.get(f"/v1/models/{WORDS}?{WORDS}={WORDS}"),
            await http.client.get(f"/{WORDS}"),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 401, 404, 404]


async def test_nothing_that_a_caller_says_is_in_a_span(
    redis_server: RedisServer, recorded_spans: RecordedSpans
) -> None:
    async with running_lab(redis_server, plan=AdmissionSettings()) as lab:
        await canaries(lab)
        lab.vision.step = raising(MediaError(WORDS, field=WORDS))
        await http_canaries(lab)
        await asyncio.sleep(0)
        await kept(lab)
    told = [span.to_json() for span in recorded_spans.ended]
    assert len(told) > 80
    assert {CHAT, POST, "encode item", "fetch", "redis media get"} <= {span.name for span in recorded_spans.ended}
    assert [line for line in told if "xyzzy" in line.lower()] == []
