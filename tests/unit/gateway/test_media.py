"""Media handles: put, used, expired, unknown, another tenant's; the bound of the store."""

from __future__ import annotations

import hashlib
import time

import hypothesis
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import strategies as st

from gateway.media_store import ENTRY_BYTES, SOLE_TENANT, MediaStore
from tests.unit.gateway.fakes import audio_embedding, image_embedding
from tests.unit.gateway.lab import Lab, kinds, refused, text
from trichord.errors import NotFoundError, OverloadedError, RequestError
from trichord.v1 import gateway_pb2, tensor_pb2

IMAGE = tensor_pb2.MODALITY_IMAGE


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_was_put_is_there_until_it_expires(clock: Clock) -> None:
    store = MediaStore(10_000, clock)
    handle, media = store.put("a", IMAGE, b"pixels", ttl_s=60)
    assert (media.content, media.modality, media.expires_s) == (b"pixels", IMAGE, 1_060.0)
    clock.now_s = 1_059.999
    assert store.get("a", handle) == media
    clock.now_s = 1_060.0
    with pytest.raises(NotFoundError):
        store.get("a", handle)


def test_another_tenants_handle_is_as_if_it_were_not_there(clock: Clock) -> None:
    store = MediaStore(10_000, clock)
    handle, _ = store.put("a", IMAGE, b"pixels", ttl_s=60)
    with pytest.raises(NotFoundError) as theirs:
        store.get("b", handle)
    with pytest.raises(NotFoundError) as nobodys:
        store.get("b", "media-unknown")
    assert theirs.value.message == nobodys.value.message


def test_equal_media_have_handles_of_their_own(clock: Clock) -> None:
    store = MediaStore(10_000, clock)
    handles = {store.put("a", IMAGE, b"same", ttl_s=60)[0] for _ in range(4)}
    assert len(handles) == 4


def test_a_full_store_refuses_until_something_expires(clock: Clock) -> None:
    store = MediaStore(2 * (ENTRY_BYTES + 10), clock)
    store.put("a", IMAGE, b"x" * 10, ttl_s=60)
    store.put("b", IMAGE, b"x" * 10, ttl_s=30)
    with pytest.raises(OverloadedError) as full:
        store.put("c", IMAGE, b"x", ttl_s=60)
    assert full.value.retry_after_s is not None
    clock.now_s += 30
    store.put("c", IMAGE, b"x" * 10, ttl_s=60)
    with pytest.raises(OverloadedError):
        store.put("c", IMAGE, b"", ttl_s=60)


def test_the_smallest_media_are_bounded_too(clock: Clock) -> None:
    store = MediaStore(100 * ENTRY_BYTES, clock)
    for _ in range(99):
        store.put("a", IMAGE, b"x", ttl_s=60)
    with pytest.raises(OverloadedError):
        store.put("a", IMAGE, b"x", ttl_s=60)


@hypothesis.given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 50), st.integers(0, 20)), max_size=40))
def test_the_store_holds_exactly_what_lives_and_fits(puts: list[tuple[int, int, int]]) -> None:
    """Against a plain list of all that was ever taken."""
    clock, taken = Clock(), list[tuple[str, bytes, float]]()
    store = MediaStore(10_000, clock)
    for size, ttl_s, wait_s in puts:
        clock.now_s += wait_s
        alive = [content for _, content, expires_s in taken if expires_s > clock.now_s]
        fits = sum(len(content) + ENTRY_BYTES for content in (*alive, b"x" * size)) <= 10_000
        try:
            handle, media = store.put("a", IMAGE, b"x" * size, ttl_s)
            taken.append((handle, media.content, media.expires_s))
            assert fits
        except OverloadedError:
            assert not fits
        for handle, content, expires_s in taken:
            if expires_s > clock.now_s:
                assert store.get("a", handle).content == content
            else:
                with pytest.raises(NotFoundError):
                    store.get("a", handle)


# Over the wire


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
    assert lab.cluster.store.get(SOLE_TENANT, kept.media_handle).content == b"I"


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
    assert lab.decoder.models.requests == []
