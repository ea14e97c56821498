"""Media handles over the wire: put, used, listed, deleted, unknown; the bound of the store."""

from __future__ import annotations

import hashlib
import time

import pytest
from google.protobuf.duration_pb2 import Duration

from gateway.identity.guard import ANONYMOUS
from tests.unit.gateway.fakes import audio_embedding, image_embedding
from tests.unit.gateway.lab import Lab, kinds, refused, text
from trichord.errors import NotFoundError, OverloadedError, RequestError
from trichord.v1 import gateway_pb2


@pytest.mark.parametrize("kind", ["image_bytes", "audio_bytes"])
async def test_a_handle_stands_for_its_media(lab: Lab, kind: str) -> None:
    kept = await lab.stub.PutMedia(gateway_pb2.PutMediaRequest(**{kind: b"media"}))  # type: ignore[arg-type]
    assert kept.content_sha256 == hashlib.sha256(b"media").hexdigest()
    part = gateway_pb2.Part(media_handle=kept.media_handle)
    events = await lab.ask(text(), part, part)
    assert kinds(events).count("item_encoded") == 2
    made = image_embedding(b"media") if kind == "image_bytes" else audio_embedding(b"media")
    assert [part.embedding for part in lab.decoder.calls.requests[0].messages[0].parts[1:]] == [made, made]


@pytest.mark.parametrize(("ttl", "ttl_s"), [(None, 600), (Duration(seconds=1), 1), (Duration(seconds=3600), 3600)])
async def test_the_time_of_expiry_is_told(lab: Lab, ttl: Duration | None, ttl_s: float) -> None:
    before_s = time.time()
    kept = await lab.stub.PutMedia(gateway_pb2.PutMediaRequest(image_bytes=b"I", ttl=ttl))
    expires_s = kept.expire_time.ToMilliseconds() / 1000
    assert before_s + ttl_s - 0.001 <= expires_s <= time.time() + ttl_s
    assert (await lab.cluster.handles.get(ANONYMOUS, kept.media_handle)).content == b"I"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (gateway_pb2.PutMediaRequest(), "media"),
        (gateway_pb2.PutMediaRequest(image_bytes=b""), "image_bytes"),
        (gateway_pb2.PutMediaRequest(audio_bytes=b""), "audio_bytes"),
        (gateway_pb2.PutMediaRequest(audio_bytes=b"A", ttl=Duration()), "ttl"),
        (gateway_pb2.PutMediaRequest(audio_bytes=b"A", ttl=Duration(seconds=-5)), "ttl"),
        (gateway_pb2.PutMediaRequest(audio_bytes=b"A", ttl=Duration(nanos=999_999_999)), "ttl"),
        (gateway_pb2.PutMediaRequest(audio_bytes=b"A", ttl=Duration(seconds=3600, nanos=1)), "ttl"),
        (gateway_pb2.PutMediaRequest(audio_bytes=b"A", ttl=Duration(seconds=1 << 62)), "ttl"),
    ],
)
async def test_bad_media_are_not_kept(lab: Lab, request_: gateway_pb2.PutMediaRequest, field: str) -> None:
    with refused() as refusal:
        await lab.stub.PutMedia(request_)
    assert type(refusal.error) is RequestError
    assert refusal.error.field == field


async def test_a_full_store_is_told(lab: Lab) -> None:
    with refused() as refusal:
        await lab.stub.PutMedia(gateway_pb2.PutMediaRequest(image_bytes=b"x" * 10_000))
    assert isinstance(refusal.error, OverloadedError)
    assert refusal.error.retry_after_s is not None


async def test_an_unknown_handle_is_named(lab: Lab) -> None:
    with refused() as refusal:
        await lab.ask(text(), gateway_pb2.Part(media_handle="media-unknown"))
    assert isinstance(refusal.error, NotFoundError)
    assert refusal.error.field == "messages[0].parts[1].media_handle"
    assert lab.decoder.calls.requests == []


async def test_handles_are_listed_newest_first_and_deleted(lab: Lab) -> None:
    handles = [
        (await lab.stub.PutMedia(gateway_pb2.PutMediaRequest(image_bytes=bytes([n])))).media_handle for n in range(3)
    ]
    page = await lab.stub.ListMedia(gateway_pb2.ListMediaRequest(page_size=2))
    rest = await lab.stub.ListMedia(gateway_pb2.ListMediaRequest(page_size=2, page_token=page.next_page_token))
    assert [media.media_handle for media in (*page.media, *rest.media)] == handles[::-1]
    assert rest.next_page_token == ""
    await lab.stub.DeleteMedia(gateway_pb2.DeleteMediaRequest(media_handle=handles[1]))
    with refused() as refusal:
        await lab.ask(gateway_pb2.Part(media_handle=handles[1]))
    assert isinstance(refusal.error, NotFoundError)
