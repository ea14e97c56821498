"""RedisLink against real servers, and against servers that refuse, hang, dawdle, lie and lack memory."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import subprocess
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.redis_lab import VALKEY, RedisServer, answering, proxied, running_redis
from trichord.breaker import CircuitBreaker
from trichord.errors import NotFoundError, OverloadedError, SettingsError, UnavailableError
from trichord.redis_link import MAX_FAILURES, RedisAwayError, RedisLink
from trichord.redis_script import RedisScript

GENEROUS_S = 5.0
"""Longer than any bound under test on any machine, and far shorter than waiting for a retry or for ever."""


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def linked(url: str, **options: Any) -> AsyncIterator[RedisLink]:
    """A link with time enough on any machine, unless a test is about its lack."""
    link = RedisLink(url, **{"timeout_s": 30.0, **options})
    try:
        yield link
    finally:
        await link.close()


def ping(redis: Redis) -> Any:
    return redis.ping()


async def away(link: RedisLink, command: Callable[[Redis], Any] = ping) -> RedisAwayError:
    with pytest.raises(RedisAwayError) as caught:
        async with asyncio.timeout(GENEROUS_S):
            await link.run(command)
    return caught.value


async def test_a_command_is_answered_in_bytes(server: RedisServer) -> None:
    name = uuid.uuid4().hex
    async with linked(server.url) as link:
        assert await link.run(lambda redis: redis.set(name, b"\x00\xff"))
        assert await link.run(lambda redis: redis.get(name)) == b"\x00\xff"
        assert await link.run(lambda redis: redis.get("nothing")) is None


async def test_a_script_is_sent_once_and_survives_a_flush(server: RedisServer) -> None:
    double = RedisScript(f"return ARGV[1] * 2 -- {uuid.uuid4().hex}")
    async with linked(server.url) as link:
        assert await link.run(lambda redis: double(redis, [], [21])) == 42
        await link.run(lambda redis: redis.script_flush())
        assert await link.run(lambda redis: double(redis, [], [4])) == 8


async def test_errors_of_ours_pass_and_are_not_the_servers_fault(server: RedisServer) -> None:
    async def command(redis: Redis) -> None:
        raise NotFoundError("not there")

    async with linked(server.url) as link:
        for _ in range(MAX_FAILURES + 1):
            with pytest.raises(NotFoundError):
                await link.run(command)
        assert await link.run(ping)


async def test_a_refused_server_opens_the_breaker(tmp_path: Path) -> None:
    commands = 0

    def command(redis: Redis) -> Any:
        nonlocal commands
        commands += 1
        return redis.ping()

    async with linked(f"unix://{tmp_path}/nothing") as link:
        for _ in range(MAX_FAILURES + 10):
            error = await away(link, command)
            assert isinstance(error, UnavailableError)
            assert error.retry_after_s
    assert commands == MAX_FAILURES


async def test_a_hung_server_is_away_and_comes_back(own_server: RedisServer) -> None:
    clock = Clock()
    async with linked(own_server.url, timeout_s=1, breaker=CircuitBreaker(2, 10.0, clock)) as link:
        assert await link.run(ping)
        own_server.pause()
        await away(link)
        await away(link)
        own_server.resume()
        await away(link)  # not asked: the breaker is open
        clock.now_s += 10
        assert await link.run(ping)
        assert await link.run(ping)


async def test_a_hung_server_is_away_for_new_connections(own_server: RedisServer) -> None:
    own_server.pause()
    async with linked(own_server.url, timeout_s=1) as link:
        await away(link)
        own_server.resume()
        assert await link.run(ping)


async def test_a_late_reply_reaches_nobody(server: RedisServer) -> None:
    names = [uuid.uuid4().hex for _ in range(2)]
    async with proxied(server) as proxy, linked(proxy.url, timeout_s=1, max_connections=1) as link:
        for name in names:
            await link.run(lambda redis, name=name: redis.set(name, name))
        proxy.delay_s = lambda: 1.5
        await away(link, lambda redis: redis.get(names[0]))
        proxy.delay_s = lambda: 0.0
        assert await link.run(lambda redis: redis.get(names[1])) == names[1].encode()
        await asyncio.sleep(1)
        assert await link.run(lambda redis: redis.get(names[1])) == names[1].encode()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
        pytest.param(b"\x00" * 1000, id="no line"),
        pytest.param(b"*1\r\n" * 5000, id="nested without end"),
        pytest.param(b"$99999999999\r\nabc", id="larger than memory"),
        pytest.param(b"$seven\r\n\r\n", id="no length"),
        pytest.param(b":seven\r\n", id="no number"),
        pytest.param(b"*99999999\r\n:1\r\n", id="a list without end"),
        pytest.param(b"-LOADING reading the data set\r\n", id="loading"),
        pytest.param(b"-READONLY a replica\r\n", id="read-only"),
        pytest.param(b"-MOVED 1 10.0.0.1:6379\r\n", id="moved"),
        pytest.param(b"-NOPERM no\r\n", id="not allowed"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_a_server_that_speaks_nonsense_is_away(answer: bytes) -> None:
    async with answering(answer) as url, linked(url, timeout_s=0.05) as link:
        error = await away(link, lambda redis: redis.hgetall("h"))
        assert error.message == "The shared store does not answer. Try again."


async def test_more_replies_than_asked_for_reach_nobody() -> None:
    async with answering(b"+mine\r\n+another's\r\n") as url, linked(url, max_connections=1) as link:
        answers = [await link.run(lambda redis: redis.get("x")) for _ in range(5)]
    assert answers == [b"mine"] * 5


async def test_a_storm_of_cancels_mixes_no_replies_up(server: RedisServer) -> None:
    chance, name = random.Random(7), uuid.uuid4().hex
    async with proxied(server) as proxy, linked(proxy.url, timeout_s=30, max_connections=4) as link:
        for i in range(50):
            await link.run(lambda redis, i=i: redis.set(f"{name}-{i}", str(i)))
        proxy.delay_s = lambda: chance.choice([0, 0, 0.001, 0.01])

        async def get(i: int) -> bool:
            task = asyncio.create_task(link.run(lambda redis: redis.get(f"{name}-{i}")))
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.05)
                task.cancel()
            try:
                assert await task == str(i).encode()
            except asyncio.CancelledError:
                return False
            return True

        answered = [await asyncio.gather(*(get(i) for i in range(50))) for _ in range(12)]
        assert {True, False} == {one for round_ in answered for one in round_}
        # Nothing leaked: as many connections as before may be used at once.
        assert all(await asyncio.gather(*(link.run(ping) for _ in range(20))))
        assert proxy.most_open <= 4 + 1  # one may be closing


async def test_timeouts_mix_no_replies_up(server: RedisServer) -> None:
    chance, name = random.Random(8), uuid.uuid4().hex
    breaker = CircuitBreaker(10_000, 1.0)
    async with proxied(server) as proxy, linked(proxy.url, timeout_s=0.03, max_connections=4, breaker=breaker) as link:
        with server.client() as client:
            client.mset({f"{name}-{i}": str(i) for i in range(20)})
        proxy.delay_s = lambda: chance.choice([0, 0.01, 0.02, 0.05])

        async def get(i: int) -> bytes | None:
            try:
                return await link.run(lambda redis: redis.get(f"{name}-{i}"))  # type: ignore[no-any-return]
            except RedisAwayError:
                return None

        for _ in range(10):
            answers = await asyncio.gather(*(get(i) for i in range(20)))
            assert all(answer in (None, str(i).encode()) for i, answer in enumerate(answers))
        proxy.delay_s = lambda: 0.0
        for i in range(20):
            answered = [answer for _ in range(50) if (answer := await get(i)) is not None]
            assert set(answered) == {str(i).encode()}


async def test_connections_are_bounded(server: RedisServer) -> None:
    async with proxied(server) as proxy, linked(proxy.url, timeout_s=30, max_connections=3) as link:
        proxy.delay_s = lambda: 0.002
        assert all(await asyncio.gather(*(link.run(ping) for _ in range(60))))
        assert proxy.most_open == 3


async def test_a_full_server_is_not_away() -> None:
    with running_redis(VALKEY, "--maxmemory", "1kb", "--maxmemory-policy", "noeviction") as full:
        async with linked(full.url) as link:
            for _ in range(MAX_FAILURES + 1):
                with pytest.raises(OverloadedError) as refused:
                    await link.run(lambda redis: redis.set("large", b"x"))
                assert refused.value.retry_after_s
            assert await link.run(ping)


async def test_a_user_has_a_password(own_server: RedisServer) -> None:
    with own_server.client() as client:
        client.acl_setuser("gateway", enabled=True, passwords=["+s3cret"], keys=["trichord:*"], commands=["+get"])
    path = own_server.socket
    async with linked(f"unix://gateway:s3cret@{path}") as link:
        assert await link.run(lambda redis: redis.get("trichord:x")) is None
        await away(link, lambda redis: redis.get("else"))
        await away(link, lambda redis: redis.flushall())
    async with linked(f"unix://gateway:wrong@{path}") as link:
        await away(link, lambda redis: redis.get("trichord:x"))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of localhost by itself, in one file with its key."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run([*make, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + key.read_text())
    return certificate


async def test_tls_needs_the_right_authority(server: RedisServer, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with proxied(server, context) as proxy:
        url = f"rediss://localhost:{proxy.port}"
        async with linked(f"{url}?ssl_ca_certs={certificate}", timeout_s=30) as link:
            assert await link.run(ping)
        async with linked(url, timeout_s=30) as stranger:
            await away(stranger)
        async with linked(f"redis://localhost:{proxy.port}", timeout_s=0.5) as plain:
            await away(plain)


async def test_closing_waits_for_no_goodbye(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    is_closed = threading.Event()

    def answer_once(listener: socket.socket) -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            while connection.recv(1000):
                connection.sendall(b"+PONG\r\n")
            is_closed.wait(60)  # and says no goodbye meanwhile

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering_once = asyncio.create_task(asyncio.to_thread(answer_once, listener))
        port = listener.getsockname()[1]
        async with linked(f"rediss://localhost:{port}?ssl_ca_certs={certificate}", timeout_s=3) as link:
            assert await link.run(ping)
        is_closed.set()
        await answering_once


@pytest.mark.parametrize("url", ["", "s3cret", "http://user:s3cret@host", "redis://:s3cret@host:port"])
def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        RedisLink(url)
    assert "s3cret" not in refused.value.message
