"""Fetching from a real host over TLS: what arrives, what is refused, and what a caller learns of the network."""

import asyncio

import httpcore2
import pytest

from gateway.fetch.fetcher import NOT_FETCHED, Fetcher
from gateway.fetch.guarded import GuardedBackend, resolve
from gateway.fetch.settings import FetchSettings
from tests.unit.gateway.fetch.conftest import HOST, PNG, PUBLIC, whole
from trichord.errors import MediaError, RequestError

URL = f"https://{HOST}/a.png?size=1"
PATH = "/a.png?size=1"


async def refusal(fetcher, url=URL, timeout_s=30.0):
    with pytest.raises(RequestError) as raised:
        await fetcher.fetch(url, timeout_s)
    error = raised.value
    assert error.field == ""
    for leak in (PUBLIC, "127.0.0.1", "10.0.0.7", "0x", "Errno", "httpcore", "SSL"):
        assert leak not in error.message
    return error


async def test_a_file_arrives_from_the_validated_address_under_its_own_name(world, monkeypatch):
    for variable in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    world.answers[PATH] = whole()
    assert await world.fetcher().fetch(URL, 30) == PNG
    assert world.resolved == [HOST]
    assert world.connected == [(PUBLIC, 443)]
    assert world.names == [HOST]
    ((path, headers),) = world.requests
    assert path == PATH
    assert headers["host"] == HOST
    assert headers["accept-encoding"] == "identity"
    assert "cookie" not in headers
    assert "authorization" not in headers


async def test_nothing_is_fetched_unless_hosts_are_named(world):
    fetcher = Fetcher(FetchSettings())
    with pytest.raises(RequestError):
        await fetcher.fetch(URL, 30)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:10.0.0.7"], ["64:ff9b::a00:7"], [PUBLIC, "10.0.0.7"], []],
)
async def test_a_name_that_leads_inside_is_not_connected_to(world, addresses):
    world.addresses[HOST] = addresses
    world.answers[PATH] = whole()
    assert (await refusal(world.fetcher())).message == NOT_FETCHED
    assert world.connected == []


async def test_a_name_that_changes_its_answer_is_asked_once(world):
    """DNS rebinding: the second answer would be inside."""
    world.answers[PATH] = whole()

    async def rebinding(host, port):
        world.resolved.append(host)
        return [PUBLIC] if len(world.resolved) == 1 else ["127.0.0.1"]

    fetcher = world.fetcher()
    fetcher._pool._network_backend._resolve = rebinding
    assert await fetcher.fetch(URL, 30) == PNG
    assert (world.resolved, world.connected) == ([HOST], [(PUBLIC, 443)])


async def test_the_next_address_is_tried_where_one_does_not_answer(world):
    world.addresses[HOST] = ["2606:4700::1111", "1.1.1.1", PUBLIC, "8.8.8.8"]
    world.unreachable = {"2606:4700::1111", "1.1.1.1"}
    world.answers[PATH] = whole()
    assert await world.fetcher().fetch(URL, 30) == PNG
    assert [address for address, _ in world.connected] == ["2606:4700::1111", "1.1.1.1", PUBLIC]
    world.unreachable.add(PUBLIC)
    assert (await refusal(world.fetcher())).message == NOT_FETCHED
    assert len(world.connected) == 6, "three at most"


async def test_every_failure_of_a_host_reads_the_same(world):
    told = set()
    for path, answer in {
        "/status": whole(status="404 Not Found"),
        "/zip": whole(Content_Encoding="gzip"),
        "/none": whole(status="204 No Content"),
        "/torn": _torn,
        "/noise": _noise,
        "/headers": _endless_headers,
    }.items():
        world.answers[path] = answer
        told.add((await refusal(world.fetcher(), f"https://{HOST}{path}")).message)
    told.add((await refusal(world.fetcher(), "https://unknown.example.org/")).message)
    world.addresses["wrong.example.org"] = [PUBLIC]
    told.add((await refusal(world.fetcher(), "https://wrong.example.org/")).message)
    world.port = 1
    told.add((await refusal(world.fetcher())).message)
    assert told == {NOT_FETCHED}


async def _torn(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + PNG)


async def _noise(writer):
    writer.write(b"\x00\xff" * 1000)


async def _endless_headers(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(10_000):
        writer.write(b"X: " + b"y" * 1000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("body", [b"", b"GIF89a" + bytes(50), b"<html>", b"RIFF\x00\x00\x00\x00WAVE", b"\x89PNG"])
async def test_what_is_no_image_is_refused_whatever_the_host_calls_it(world, body):
    world.answers[PATH] = whole(body, Content_Type="image/png")
    error = await refusal(world.fetcher())
    assert isinstance(error, MediaError)
    assert "PNG, JPEG or WebP" in error.message


@pytest.mark.parametrize("body", [PNG, b"\xff\xd8\xff\xe0" + bytes(50), b"RIFF\x00\x00\x00\x00WEBP"])
async def test_images_are_taken(world, body):
    world.answers[PATH] = whole(body, Content_Type="text/html")
    assert await world.fetcher().fetch(URL, 30) == body


async def test_a_file_is_cut_off_at_the_limit_and_not_read_on(world):
    async def endless(writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(10_000))
            await writer.drain()
            world.num_sent += 10_000

    world.answers[PATH] = endless
    error = await refusal(world.fetcher(max_bytes=100_000))
    assert "larger than 100000 bytes" in error.message
    assert world.num_sent < 50_000_000, "what sockets buffer, and no more"
    world.answers[PATH] = whole(PNG + bytes(100_000 - len(PNG)))
    assert len(await world.fetcher(max_bytes=100_000).fetch(URL, 30)) == 100_000


async def _stalls(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + PNG)
    await writer.drain()
    await asyncio.sleep(60)


async def _drips(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("answer", "limits", "timeout_s"),
    [
        (_stalls, {"idle_timeout_s": 0.1}, 30),
        (_drips, {"timeout_s": 0.3}, 30),
        (_drips, {}, 0.3),
    ],
    ids=["idle", "its own", "the caller's"],
)
async def test_a_slow_host_is_left(world, answer, limits, timeout_s):
    world.answers[PATH] = answer
    assert "in time" in (await refusal(world.fetcher(**limits), timeout_s=timeout_s)).message


async def test_a_slow_name_server_is_left(world):
    async def never(host, port):
        await asyncio.sleep(60)

    backend = GuardedBackend(never, httpcore2.AnyIOBackend())
    with pytest.raises(httpcore2.ConnectError):
        await backend.connect_tcp(HOST, 443, timeout=0.05)


async def test_the_systems_names_are_resolved_and_refused(world):
    assert "127.0.0.1" in await resolve("localhost", 80)
    with pytest.raises(httpcore2.ConnectError):
        await GuardedBackend(resolve, httpcore2.AnyIOBackend()).connect_tcp("localhost", 80, timeout=10)


async def test_redirects_are_off(world):
    world.answers[PATH] = whole(status="302 Found", Location="/b.png")
    world.answers["/b.png"] = whole()
    assert "redirected" in (await refusal(world.fetcher())).message
    assert [path for path, _ in world.requests] == [PATH]


async def test_redirects_are_checked_one_by_one(world):
    fetcher = world.fetcher(max_redirects=3)
    for hop in range(5):
        world.answers[f"/{hop}"] = whole(status="302 Found", Location=f"/{hop + 1}")
    world.answers["/5"] = whole()
    assert await fetcher.fetch(f"https://{HOST}/2", 30) == PNG
    assert "redirected" in (await refusal(fetcher, f"https://{HOST}/1")).message
    for location in ("https://evil.net/", "http://media.example.com/5", "//127.0.0.1/5", "https://[", ""):
        world.answers[PATH] = whole(status="301 Moved", Location=location)
        num_before = len(world.requests)
        assert (await refusal(fetcher)).message in (
            NOT_FETCHED,
            "The URL is redirected. Send the URL of the file, or the file itself.",
        )
        assert location == "" or len(world.requests) == num_before + 1


async def test_a_redirect_to_a_name_that_leads_inside_is_not_followed(world):
    world.addresses["inside.example.org"] = ["10.0.0.7"]
    world.answers[PATH] = whole(status="307 Temporary Redirect", Location="https://inside.example.org/")
    assert (await refusal(world.fetcher(max_redirects=3))).message == NOT_FETCHED
    assert world.connected == [(PUBLIC, 443)]


async def test_so_many_at_once_and_no_more(world):
    going, most = asyncio.Event(), 0
    num_open = 0

    async def held(writer):
        nonlocal num_open, most
        num_open += 1
        most = max(most, num_open)
        if num_open == 2:
            going.set()
        await going.wait()
        await asyncio.sleep(0.01)
        num_open -= 1
        await whole()(writer)

    world.answers[PATH] = held
    fetcher = world.fetcher(max_concurrent=2)
    assert await asyncio.gather(*(fetcher.fetch(URL, 30) for _ in range(8))) == [PNG] * 8
    assert most == 2
    await fetcher.close()
