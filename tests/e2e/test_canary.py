"""Nothing that a caller sends is in anything that a cluster tells of itself: logs, spans, metrics, keys of stores.

Canaries are put wherever a caller's words or secrets can be, into requests that go well and requests that fail; then
everything that the processes emitted is searched for them.
"""

from __future__ import annotations

import base64
import http.client
import io
import itertools
import json
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
import pytest
import soundfile
from PIL import Image, PngImagePlugin

from gateway.identity.api_key import ApiKey
from local_cluster.state import RunDirectory
from tests.conftest import LocalCluster, running_cluster, trichord
from tests.e2e.media import png, wav
from tests.otlp_lab import Collector, collector
from tests.redis_lab import running_redis
from trichord.home import home
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc

NAME = "test-canary"
HTTP_PORT_OFFSET = 4
ENCODERS_AND_DECODER = ("vision-encoder", "audio-encoder", "llm-decoder")
TELLING = tuple(f"{service}-model" for service in ENCODERS_AND_DECODER)
"""Services within Tritons, which themselves tell of most requests and not of all."""
STEM = "Zq7Xcanary"
FETCHED = "zq7xcanary.test"
"""The part of a host's name that no setting allows by itself."""


def canary(kind: str) -> str:
    """Text that nobody would write, and that says where it was put."""
    return f"{STEM}{kind}"


def disguises(word: str) -> list[bytes]:
    """A word as bytes, lower case, as they are and in base64 at each of its three alignments; hex too."""
    raw = word.encode()
    encoded = [base64.b64encode(b"\0" * shift + raw)[(shift * 4 + 2) // 3 :].rstrip(b"=")[:-1] for shift in range(3)]
    return [form.lower() for form in (raw, raw.hex().encode(), *encoded)]


def found(words: list[str], emitted: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Where a word is, and what stands around it."""
    leaks = []
    for (place, text), word in itertools.product(emitted.items(), words):
        lower = text.lower()
        for form in disguises(word):
            if (at := lower.find(form)) >= 0:
                leaks.append((f"{word} in {place}", text[max(0, at - 120) : at + 120]))
    return leaks


def wait_for(receiving: Collector, services: Sequence[str]) -> None:
    """Waits until each has told something."""
    end_s = time.monotonic() + 120
    while time.monotonic() < end_s and not {*services} <= {span.service for span in receiving.spans}:
        time.sleep(0.2)


def picture() -> bytes:
    """A PNG with words in its text chunks and EXIF data."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", canary("pngtext"))
    exif = Image.Exif()
    exif[0x010E] = canary("exif")  # ImageDescription
    exif[0x010D] = canary("filename") + ".png"  # DocumentName
    file = io.BytesIO()
    Image.open(io.BytesIO(png(90, 60, seed=41))).save(file, "PNG", pnginfo=info, exif=exif)
    return file.getvalue()


def sound() -> bytes:
    """A WAV with words in its INFO chunk."""
    file = io.BytesIO()
    samples, rate = soundfile.read(io.BytesIO(wav(1.2, seed=42)))
    with soundfile.SoundFile(file, "w", rate, 1, format="WAV") as writer:
        writer.title, writer.artist, writer.comment = (canary(f"wav{kind}") for kind in ("title", "artist", "comment"))
        writer.write(samples)
    assert canary("wavtitle").encode() in file.getvalue()
    return file.getvalue()


SCHEMA = json.dumps(
    {
        "type": "object",
        "description": canary("schemadescription"),
        "properties": {canary("schemakey"): {"enum": [canary("schemavalue")]}},
        "required": [canary("schemakey")],
        "additionalProperties": False,
    }
)


def chat(*parts: gateway_pb2.Part, **fields: object) -> gateway_pb2.ChatRequest:
    text = gateway_pb2.Part(text=canary("prompt"))
    system = gateway_pb2.Part(text=canary("system"))
    messages = [
        gateway_pb2.Message(role=decoder_pb2.ROLE_SYSTEM, parts=[system]),
        gateway_pb2.Message(role=decoder_pb2.ROLE_USER, parts=[*parts, text]),
    ]
    sampling = fields.pop("sampling", decoder_pb2.SamplingParams(max_tokens=4, stop=[canary("stop")]))
    return gateway_pb2.ChatRequest(messages=messages, sampling=sampling, **fields)


def metadata(key: str) -> tuple[tuple[str, str | bytes], ...]:
    return (
        ("authorization", f"Bearer {key}"),
        ("x-request-id", "visible-grpc-id"),
        ("traceparent", f"00-{'5a' * 16}-{'5a' * 8}-01"),
        ("tracestate", f"vendor={canary('tracestate')}"),
        ("baggage", f"who={canary('baggage')}"),
        ("x-other", canary("header")),
        ("x-other-bin", canary("binaryheader").encode()),
        ("idempotency-key", canary("idempotencykey")),
    )


class GrpcCaller:
    """Sends canaries by gRPC, and keeps every error's text."""

    def __init__(self, target: str, key: str) -> None:
        agent = [("grpc.primary_user_agent", canary("useragent"))]
        self.channel = grpc.insecure_channel(target, options=agent)
        self._stub, self._key = gateway_pb2_grpc.OmniServiceStub(self.channel), key
        self.errors: list[grpc.StatusCode] = []
        self.told: list[bytes] = []
        self.handles: list[str] = []
        self.num_chats = 0

    def all(self) -> None:
        self._good()
        self._bad()

    def _good(self) -> None:
        self.handles = [
            self._ask("PutMedia", gateway_pb2.PutMediaRequest(image_bytes=picture())).media_handle,
            self._ask("PutMedia", gateway_pb2.PutMediaRequest(audio_bytes=sound())).media_handle,
        ]
        image, audio = gateway_pb2.Part(image_bytes=picture()), gateway_pb2.Part(audio_bytes=sound())
        kept = [gateway_pb2.Part(media_handle=handle) for handle in self.handles]
        self.chat(chat(image, audio, request_id="visible-chat-id"))
        self.chat(chat(*kept))
        as_json = decoder_pb2.ResponseFormat(json_schema=SCHEMA)
        self.chat(chat(sampling=decoder_pb2.SamplingParams(max_tokens=90, response_format=as_json)))
        self._ask("Encode", gateway_pb2.EncodeRequest(part=kept[0]))
        counted = gateway_pb2.OmniServiceCountTokensRequest(messages=chat(image).messages)
        self._ask("CountTokens", counted)
        self._ask("ListMedia", gateway_pb2.ListMediaRequest())
        self._ask("GetModel", gateway_pb2.OmniServiceGetModelRequest())
        self.leave(chat(sampling=decoder_pb2.SamplingParams(max_tokens=400, ignore_eos=True)))
        assert not self.errors

    def _bad(self) -> None:
        words = canary("brokenmedia").encode() * 9
        self.chat(chat(model=canary("model")))
        self.chat(chat(gateway_pb2.Part(image_bytes=b"\x89PNG\r\n\x1a\n" + words)))
        self.chat(chat(gateway_pb2.Part(image_bytes=words)))
        self.chat(chat(gateway_pb2.Part(audio_bytes=b"RIFF\x50\0\0\0WAVEfmt " + words)))
        self.chat(chat(gateway_pb2.Part(media_handle=canary("handle"))))
        for host in ("elsewhere.test", f"a.{FETCHED}"):
            self.chat(chat(gateway_pb2.Part(image_url=f"https://{host}/{canary('path')}.png?q={canary('query')}")))
        for schema in (f'{{"type": "{canary("badschema")}"}}', canary("noschema"), f'{{"pattern": "({STEM}"}}'):
            form = decoder_pb2.ResponseFormat(json_schema=schema)
            self.chat(chat(sampling=decoder_pb2.SamplingParams(response_format=form)))
        self.chat(chat(sampling=decoder_pb2.SamplingParams(stop=[canary("longstop") * 99])))
        self.chat(chat(request_id=canary("requestid") + "\n"))
        self._ask("DeleteMedia", gateway_pb2.DeleteMediaRequest(media_handle=canary("deletedhandle")))
        self._ask("ListMedia", gateway_pb2.ListMediaRequest(page_token=canary("pagetoken")))
        self._ask("Encode", gateway_pb2.EncodeRequest(part=gateway_pb2.Part(text=canary("encodetext"))))
        for key in (canary("wrongkey"), f"tri_{canary('wrongkey')}", ApiKey.new().text()):
            self._ask("Encode", gateway_pb2.EncodeRequest(part=gateway_pb2.Part(image_bytes=picture())), key)

    def chat(self, request: gateway_pb2.ChatRequest) -> None:
        self.num_chats += 1
        try:
            list(self._stub.Chat(request, metadata=metadata(self._key), timeout=60))
        except grpc.RpcError as error:
            self._failed(error)

    def leave(self, request: gateway_pb2.ChatRequest) -> None:
        """Goes before the answer is complete."""
        self.num_chats += 1
        call = self._stub.Chat(request, metadata=metadata(self._key), timeout=60)
        next(event for event in call if event.HasField("token"))
        call.cancel()

    def _ask(self, method: str, request: object, key: str = "") -> object:
        try:
            return getattr(self._stub, method)(request, metadata=metadata(key or self._key), timeout=60)
        except grpc.RpcError as error:
            self._failed(error)
            return None

    def _failed(self, error: grpc.RpcError) -> None:
        self.errors.append(error.code())
        self.told.append(f"{error.details()} {error.trailing_metadata()}".encode())


class HttpCaller:
    """Sends canaries by HTTP, and keeps every refusal's body."""

    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self.statuses: list[int] = []
        self.told: list[bytes] = []

    def all(self) -> None:
        for stream in (False, True):
            self._complete(stream=stream, n=2)
        self._complete(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": canary("schemaname")[:20], "schema": json.loads(SCHEMA)},
            }
        )
        self._complete(**{canary("unknownfield"): canary("unknownvalue")})
        self.ask("GET", "/v1/models")
        num_good = len(self.statuses)
        assert self.statuses == [200] * num_good, self.told
        self._complete(model=canary("model"))
        self._complete(model=canary("model"), stream=True)
        self._complete(tools=[{"type": "function", "function": {"name": canary("tool")}}])
        self._complete(temperature=canary("badvalue"))
        self._complete(parts=[{"type": "image_url", "image_url": {"url": f"https://a.{FETCHED}/{canary('path')}"}}])
        self._complete(parts=[{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{canary('data')}!"}}])
        self._complete(parts=[{"type": "input_audio", "input_audio": {"data": canary("data"), "format": "wav"}}])
        self.ask("POST", "/v1/chat/completions", f'{{"{canary("brokenjson")}": '.encode())
        self.ask("GET", f"/v1/models/{canary('model')}?q={canary('query')}")
        self.ask("GET", f"/{canary('path')}?q={canary('query')}")
        self.ask(canary("method").upper(), "/v1/models")
        self.ask("GET", "/v1/models", headers={"x-long": canary("long") * 5000})
        assert min(self.statuses[num_good:]) >= 400
        for key in (canary("wrongkey"), f"tri_{canary('wrongkey')}"):
            self.ask("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})

    def _complete(self, parts: list[object] | None = None, **fields: object) -> None:
        url = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
        heard = {"data": base64.b64encode(sound()).decode(), "format": "wav"}
        media = [{"type": "image_url", "image_url": {"url": url}}, {"type": "input_audio", "input_audio": heard}]
        content = [*(media if parts is None else parts), {"type": "text", "text": canary("prompt")}]
        messages = [{"role": "system", "content": canary("system")}, {"role": "user", "content": content}]
        labels = {"user": canary("user"), "metadata": {canary("metakey"): canary("metavalue")}}
        body = {"model": "tiny", "messages": messages, "max_tokens": 90, "stop": canary("stop"), **labels, **fields}
        self.ask("POST", "/v1/chat/completions", json.dumps(body).encode())

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        told = {
            "authorization": f"Bearer {self._key}",
            "content-type": "application/json",
            "x-request-id": "visible-http-id",
            "user-agent": canary("useragent"),
            "idempotency-key": canary("idempotencykey") + str(len(self.statuses)),
            "referer": f"https://{canary('referer')}.test/",
            "cookie": f"session={canary('cookie')}",
            "x-forwarded-for": canary("forwarded"),
            **{
                name: str(value)
                for name, value in metadata(self._key)
                if name in ("traceparent", "tracestate", "baggage", "x-other")
            },
        }
        connection.request(method, path, body, {**told, **(headers or {})})
        response = connection.getresponse()
        text = response.read()
        self.statuses.append(response.status)
        if response.status >= 400:
            self.told.append(str(response.getheaders()).encode() + text)
        connection.close()


@dataclass
class Emitted:
    """Everything that a cluster told of itself, and what must not be in it."""

    texts: dict[str, bytes] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    errors: dict[str, bytes] = field(default_factory=dict)
    num_chats: int = 0

    def lines(self, process: str) -> list[dict[str, object]]:
        """What a process logged in JSON."""
        text = self.texts[f"log of {process}"].decode()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    told, folder = Emitted(), tmp_path_factory.mktemp("canary")
    with pytest.MonkeyPatch.context() as patch, collector() as receiving, running_redis() as redis_server:
        patch.setenv("TRICHORD_TELEMETRY_OTLP_URL", receiving.url)
        for store in ("CACHE", "STATE"):
            patch.setenv(f"TRICHORD_GATEWAY_{store}_URL", redis_server.url)
        patch.setenv("TRICHORD_GATEWAY_LOG_LEVEL", "debug")
        patch.setenv("TRICHORD_AUTH_MODE", "keys")
        patch.setenv("TRICHORD_AUTH_KEYS", str(folder / "keys.json"))
        patch.setenv("TRICHORD_FETCH_HOSTS", f"*.{FETCHED}")
        tenant = canary("tenant")
        key = trichord(
            "keys", "create", "--tenant", tenant, "--scope", "chat", "--scope", "media", "--scope", "encode"
        ).stdout.strip()
        with running_cluster(NAME, "tiny", "float32") as cluster:
            _talk(cluster, key, told)
            told.texts |= _pages(cluster)
            wait_for(receiving, TELLING)
            with redis_server.client() as client:
                told.texts["keys of the stores"] = b"\n".join(client.scan_iter())
        for name, file in RunDirectory(home(), NAME).log_files().items():
            told.texts[f"log of {name}"] = file.read_bytes()
        told.texts["spans"] = b"\n".join(receiving.bodies)
    return told


def _talk(cluster: LocalCluster, key: str, told: Emitted) -> None:
    grpc_caller = GrpcCaller(cluster.gateway, key)
    with grpc_caller.channel:
        grpc_caller.all()
    http_caller = HttpCaller(cluster.port + HTTP_PORT_OFFSET, key)
    http_caller.all()
    told.num_chats = grpc_caller.num_chats
    parsed = ApiKey.parse(key)
    assert parsed
    told.secrets = [STEM, parsed.secret, *grpc_caller.handles, base64.b64encode(picture()[40:100]).decode()]
    told.errors = {f"gRPC error {n}": text for n, text in enumerate(grpc_caller.told)}
    told.errors |= {f"HTTP error {n}": text for n, text in enumerate(http_caller.told)}


def _pages(cluster: LocalCluster) -> dict[str, bytes]:
    pages = {}
    for name, process in cluster.processes().items():
        if port := process["metrics_port"]:
            for kind in ("text/plain", "application/openmetrics-text"):
                request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"accept": kind})
                with urllib.request.urlopen(request, timeout=10) as page:
                    pages[f"metrics of {name} as {kind}"] = page.read()
    return pages


@pytest.mark.parametrize(
    "disguise",
    [str, str.upper, lambda word: word.encode().hex(), *(lambda word, n=n: _base64(word, n) for n in range(4))],
)
def test_the_search_would_find_one(disguise) -> None:
    text = f"GET /x?q={disguise(canary('prompt'))}&more".encode()
    assert found([STEM], {"log": text})
    assert not found([STEM], {"log": b"GET /x?q=nothing&more"})


def _base64(word: str, shift: int) -> str:
    return base64.b64encode(b"a" * shift + word.encode()).decode()


def test_everything_was_looked_at(emitted: Emitted) -> None:
    """The search for canaries is worth as much as what it searches: what should be there, is."""
    services = ("gateway", *ENCODERS_AND_DECODER)
    for service in services:
        assert b"rpc_server_call_duration_seconds" in emitted.texts[f"metrics of {service} as text/plain"]
    for service in (*services, *TELLING):
        assert service.encode() in emitted.texts["spans"]
    for service in ENCODERS_AND_DECODER:
        assert f"log of {service}-triton" in emitted.texts
    assert b'trichord_requests_total{face="http"' in emitted.texts["metrics of gateway as text/plain"]
    assert emitted.texts["keys of the stores"]
    (chat_line,) = [line for line in emitted.lines("gateway") if line.get("request_id") == "visible-chat-id"]
    trace_id = str(chat_line["trace_id"])
    for service in services:
        lines = [line for line in emitted.lines(service) if line.get("trace_id") == trace_id]
        assert {line["event"] for line in lines} >= {"request"}, service
    assert bytes.fromhex(trace_id) in emitted.texts["spans"]
    named = [line for line in emitted.lines("llm-decoder") if line.get("request_id") == "visible-chat-id"]
    (generated,) = [line for line in named if line["method"] == "trichord.v1.DecoderService/Generate"]
    assert generated["output_tokens"] == chat_line["output_tokens"] > 0


def test_nothing_that_a_caller_sent_is_told(emitted: Emitted) -> None:
    assert found(emitted.secrets, emitted.texts) == []


def test_errors_echo_nothing_but_names(emitted: Emitted) -> None:
    assert len(emitted.errors) > 20
    named = [canary("model"), canary("path"), canary("method").upper()]
    texts = {place: _without(named, text) for place, text in emitted.errors.items()}
    assert found(emitted.secrets, texts) == []


def _without(words: list[str], text: bytes) -> bytes:
    for word in words:
        text = text.replace(word.encode(), b"")
    return text


def test_a_request_is_one_line_that_says_what_it_took(emitted: Emitted) -> None:
    lines = [line for line in emitted.lines("gateway") if line["event"] == "request" and line["level"] == "info"]
    chats = [line for line in lines if line["method"] == "trichord.v1.OmniService/Chat"]
    assert len(chats) == emitted.num_chats
    whole = next(line for line in chats if line.get("request_id") == "visible-chat-id")
    assert list(whole)[:8] == ["time", "level", "event", "service", "trace_id", "span_id", "request_id", "tenant"]
    assert (whole["status"], whole["operation"], whole["model"], whole["items"]) == ("OK", "chat", "tiny", 2)
    assert min(whole[name] for name in ("duration_ms", "ttft_ms", "input_tokens", "output_tokens", "bytes")) > 0
    assert {line["error"] for line in chats if line["status"] != "OK"} >= {"NOT_FOUND", "INVALID_MEDIA", "CANCELLED"}
    served = [line for line in lines if line.get("route")]
    assert {line["route"] for line in served} >= {"/v1/chat/completions", "/v1/models", "/v1/models/{id:path}", "-"}
    assert {line["status"] for line in served} >= {200, 400, 401, 404}
    assert len({line["tenant"] for line in lines if "tenant" in line}) == 1
