"""Media handles on real servers: put at one gateway, used at another; listed, deleted, expired, bounded."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from gateway.handles import calls
from gateway.handles.index import ENTRY_BYTES, PREFIX
from gateway.handles.store import HandleStore
from tests.redis_lab import RedisServer
from trichord.errors import NotFoundError, OverloadedError, RequestError
from trichord.redis_link import RedisAwayError, RedisLink
from trichord.v1 import gateway_pb2, tensor_pb2

IMAGE, AUDIO = tensor_pb2.MODALITY_IMAGE, tensor_pb2.MODALITY_AUDIO
Put = gateway_pb2.PutMediaRequest


@asynccontextmanager
async def gateways(url: str, number: int = 1, **bounds: int) -> AsyncIterator[list[HandleStore]]:
    links = [RedisLink(url, timeout_s=30) for _ in range(number)]
    secret = uuid.uuid4().bytes
    bounds = {"max_bytes": 10**9, "max_tenant_bytes": 10**8, **bounds}
    try:
        yield [HandleStore(link, secret, **bounds) for link in links]
    finally:
        for link in links:
            await link.close()


@pytest.fixture(autouse=True)
def empty(request: pytest.FixtureRequest) -> None:
    """All deployments count together what one server keeps."""
    if "server" in request.fixturenames:
        with request.getfixturevalue("server").client() as client:
            client.flushall()


async def put(store: HandleStore, content: bytes = b"pixels", tenant: str = "a", ttl_s: int = 60) -> str:
    request = Put(image_bytes=content, ttl=Duration(seconds=ttl_s))
    return (await calls.put_media(request, tenant, store)).media_handle


async def listed(store: HandleStore, tenant: str = "a", page_size: int = 0, token: str = "") -> list[str]:
    request = gateway_pb2.ListMediaRequest(page_size=page_size, page_token=token)
    return [media.media_handle for media in (await calls.list_media(request, tenant, store)).media]


async def gone(store: HandleStore, handle: str, tenant: str = "a") -> str:
    with pytest.raises(NotFoundError) as got:
        await store.get(tenant, handle)
    with pytest.raises(NotFoundError) as deleted:
        await calls.delete_media(gateway_pb2.DeleteMediaRequest(media_handle=handle), tenant, store)
    assert deleted.value.field == "media_handle"
    assert deleted.value.message == got.value.message
    return got.value.message


async def test_what_one_gateway_took_every_gateway_gives(server: RedisServer) -> None:
    async with gateways(server.url, 2) as (one, other):
        before_s = time.time()
        image = await calls.put_media(Put(image_bytes=b"\x00pixels\xff"), "a", one)
        audio = await calls.put_media(Put(audio_bytes=b"s" * 300_000, ttl=Duration(seconds=5)), "a", one)
        assert await other.get("a", image.media_handle) == (IMAGE, b"\x00pixels\xff")
        assert await other.get("a", audio.media_handle) == (AUDIO, b"s" * 300_000)
        assert image.content_sha256 == hashlib.sha256(b"\x00pixels\xff").hexdigest()
        for response, ttl_s in ((image, calls.DEFAULT_TTL_S), (audio, 5)):
            expires_s = response.expire_time.ToMilliseconds() / 1000
            assert before_s + ttl_s - 0.002 <= expires_s <= time.time() + ttl_s
        request = gateway_pb2.ListMediaRequest()
        second, first = (await calls.list_media(request, "a", other)).media
        assert first == gateway_pb2.StoredMedia(
            media_handle=image.media_handle,
            modality=IMAGE,
            num_bytes=8,
            content_sha256=image.content_sha256,
            expire_time=image.expire_time,
        )
        assert (second.media_handle, second.modality, second.num_bytes) == (audio.media_handle, AUDIO, 300_000)


async def test_another_tenants_handle_is_as_if_it_were_not_there(server: RedisServer) -> None:
    async with gateways(server.url) as (store,):
        handle = await put(store)
        assert await gone(store, handle, tenant="b") == await gone(store, "media-unknown", tenant="b")
        assert await listed(store, tenant="b") == []
        assert await listed(store) == [handle]
        assert (await store.get("a", handle)).content == b"pixels"


async def test_a_deleted_handle_is_gone_at_once_with_all_it_took(server: RedisServer) -> None:
    async with gateways(server.url, 2) as (one, other):
        kept, dropped = await put(one), await put(one)
        await calls.delete_media(gateway_pb2.DeleteMediaRequest(media_handle=dropped), "a", other)
        await gone(one, dropped)
        assert await listed(one) == [kept]
        await other.delete("a", kept)
        with server.client() as client:
            assert client.keys("*") == []


async def test_an_expired_handle_is_gone_with_all_it_took(server: RedisServer) -> None:
    async with gateways(server.url) as (store,):
        handle = await put(store, ttl_s=2)
        assert await listed(store) == [handle]
        await asyncio.sleep(2.05)
        await gone(store, handle)
        assert await listed(store) == []
        with server.client() as client:
            assert client.keys("*") == []


async def test_handles_are_told_newest_first_a_page_at_a_time(server: RedisServer) -> None:
    async with gateways(server.url) as (store,):
        handles = [await put(store) for _ in range(7)]
        pages, token = [], ""
        while True:
            request = gateway_pb2.ListMediaRequest(page_size=3, page_token=token)
            response = await calls.list_media(request, "a", store)
            pages.append([media.media_handle for media in response.media])
            if not pages[1:]:  # what comes and goes between two pages moves no other
                await put(store)
                await store.delete("a", pages[0][-1])
            if not (token := response.next_page_token):
                break
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [handle for page in pages for handle in page] == handles[::-1]


async def test_handles_put_at_once_are_all_told(server: RedisServer) -> None:
    async with gateways(server.url, 2) as stores:
        handles = await asyncio.gather(*(put(stores[i % 2]) for i in range(40)))
        assert sorted(await listed(stores[0])) == sorted(handles)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (gateway_pb2.ListMediaRequest(page_size=-1), "page_size"),
        (gateway_pb2.ListMediaRequest(page_size=1001), "page_size"),
        (gateway_pb2.ListMediaRequest(page_token="x"), "page_token"),
        (gateway_pb2.ListMediaRequest(page_token="YmVmb3JlOi1pbmY="), "page_token"),
        (gateway_pb2.ListMediaRequest(page_token="é" * 10_000), "page_token"),
        (Put(), "media"),
        (Put(image_bytes=b""), "image_bytes"),
        (Put(audio_bytes=b""), "audio_bytes"),
        (Put(audio_bytes=b"A", ttl=Duration()), "ttl"),
        (Put(audio_bytes=b"A", ttl=Duration(nanos=999_999_999)), "ttl"),
        (Put(audio_bytes=b"A", ttl=Duration(seconds=3600, nanos=1)), "ttl"),
        (Put(audio_bytes=b"A", ttl=Duration(seconds=1 << 62)), "ttl"),
    ],
)
async def test_a_bad_request_is_refused(
    server: RedisServer, request_: Put | gateway_pb2.ListMediaRequest, field: str
) -> None:
    async with gateways(server.url) as (store,):
        call = calls.put_media if isinstance(request_, Put) else calls.list_media
        with pytest.raises(RequestError) as refused:
            await call(request_, "a", store)  # type: ignore[operator]
    assert refused.value.field == field


async def full(store: HandleStore, tenant: str, content: bytes = b"x" * 10) -> OverloadedError:
    with pytest.raises(OverloadedError) as refused:
        await put(store, content, tenant)
    return refused.value


async def test_a_full_store_refuses_until_something_goes(server: RedisServer) -> None:
    async with gateways(server.url, max_bytes=3 * (ENTRY_BYTES + 10), max_tenant_bytes=2 * (ENTRY_BYTES + 10)) as (
        store,
    ):
        handle = await put(store, b"x" * 10, "a")
        await put(store, b"x" * 10, "a", ttl_s=2)
        assert "Your media" in (await full(store, "a", b"x")).message
        await put(store, b"x" * 10, "b")
        assert (await full(store, "b")).retry_after_s
        await store.delete("a", handle)
        await put(store, b"x" * 10, "b")
        await full(store, "c")
        await asyncio.sleep(2.05)
        await put(store, b"x" * 10, "c")
        await full(store, "c", b"x")


async def test_the_smallest_media_are_bounded_too(server: RedisServer) -> None:
    async with gateways(server.url, max_tenant_bytes=20 * ENTRY_BYTES) as (store,):
        for _ in range(19):
            await put(store, b"x")
        await full(store, "a", b"x")


async def test_media_that_were_changed_are_not_given(server: RedisServer) -> None:
    async with gateways(server.url) as (store,):
        one, other = await put(store, b"one"), await put(store, b"other")
        with server.client() as client:
            names = client.keys(f"{PREFIX}content:*")
            contents = [client.get(name) for name in names]
            for name, content in zip(names, reversed(contents), strict=True):
                client.set(name, content or b"")
        for handle in (one, other):
            with pytest.raises(NotFoundError):
                await store.get("a", handle)


async def test_names_tell_no_tenant_and_contents_no_handle(server: RedisServer) -> None:
    async with gateways(server.url) as (store,):
        handle = await put(store, tenant="the tenant")
        with server.client() as client:
            names = b" ".join(client.keys("*"))
    assert b"tenant" not in names
    assert handle.encode() not in names


class AwayOnce(RedisLink):
    """Fails at the command of a given number."""

    number = 2

    async def run(self, command: Any, name: str = "command") -> Any:
        self.number -= 1
        if self.number == 0:
            raise RedisAwayError("away")
        return await super().run(command, name)


async def test_media_that_did_not_arrive_are_not_counted(server: RedisServer) -> None:
    link = AwayOnce(server.url, timeout_s=30)
    with pytest.raises(RedisAwayError):
        await put(HandleStore(link, b"secret", max_bytes=10**6, max_tenant_bytes=10**6))
    with server.client() as client:
        assert client.keys("*") == []
    await link.close()


async def test_an_absent_server_is_said(own_server: RedisServer) -> None:
    link = RedisLink(own_server.url, timeout_s=1)
    store = HandleStore(link, b"secret", max_bytes=10**6, max_tenant_bytes=10**6)
    handle = await put(store)
    own_server.pause()
    with pytest.raises(RedisAwayError):
        await store.get("a", handle)
    with pytest.raises(RedisAwayError):
        await put(store)
    own_server.resume()
    assert (await store.get("a", handle)).content == b"pixels"
    await link.close()
