"""The embedding store on real servers: kept, shared between gateways, encoded once; and what bad servers cost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path

import pytest

from gateway.embeddings.counters import StoreCounters
from gateway.embeddings.shared_records import SharedRecords
from gateway.embeddings.store import ENCODED, SHARED, STORE, Stored, StoreLimits
from tests.integration.redis.lab import CONTENT, Deployment, Encoder, ask, deployed, embedding_of
from tests.redis_lab import RedisServer, answering, proxied
from trichord.errors import DeadlineError, MediaError, UnavailableError

GENEROUS_S = 20.0


@pytest.fixture
async def deployment(server: RedisServer) -> AsyncIterator[Deployment]:
    async with deployed(server.url) as one:
        yield one


async def asked(*tasks: asyncio.Task[Stored]) -> None:
    """Lets tasks come as far as they can without the encoder."""
    await asyncio.sleep(0.15)


def encoded_once(sources: Iterable[int]) -> bool:
    """Whether one caller's encode served all; who came late found it kept."""
    first, *others = sorted(sources)
    return first == ENCODED and set(others) <= {SHARED, STORE}


# Kept


async def test_what_was_encoded_is_found_by_every_gateway(deployment: Deployment) -> None:
    encoder, one, other = Encoder(), deployment.store(), deployment.store()
    first = await ask(one, encoder)
    await one.close()
    second, third = await ask(one, encoder), await ask(other, encoder)
    assert (first.source, second.source, third.source) == (ENCODED, STORE, STORE)
    assert encoder.calls == 1
    expected = embedding_of(CONTENT)
    assert first.embedding == expected
    expected.content_sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert second.embedding == third.embedding == expected
    assert (one.counters.misses, one.counters.hits, other.counters.hits) == (1, 1, 1)
    assert all(stored.store_ms > 0 for stored in (first, second, third))


async def test_a_tenant_finds_its_own_only(deployment: Deployment) -> None:
    store, encoder = deployment.store(), Encoder()
    await ask(store, encoder, tenant="a")
    await store.close()
    assert (await ask(store, encoder, tenant="b")).source == ENCODED
    assert (await ask(store, encoder, tenant="a")).source == STORE
    assert encoder.calls == 2


async def test_other_content_and_another_encoder_are_other_embeddings(deployment: Deployment) -> None:
    store, encoder = deployment.store(), Encoder()
    await ask(store, encoder)
    await store.close()
    assert (await ask(store, encoder, content=b"other")).source == ENCODED
    await store.close()
    rolled = await store.embedding("a", 2, CONTENT, "vision 2", encoder, timeout_s=60)  # type: ignore[arg-type]
    assert rolled.source == ENCODED
    assert encoder.calls == 3


async def test_an_embedding_of_an_unexpected_encoder_is_given_and_not_kept(deployment: Deployment) -> None:
    store, encoder = deployment.store(), Encoder()
    for _ in range(2):
        stored = await store.embedding("a", 2, CONTENT, "rolled back", encoder, timeout_s=60)  # type: ignore[arg-type]
        await store.close()
        assert (stored.source, stored.embedding) == (ENCODED, embedding_of(CONTENT))
    assert (encoder.calls, store.counters.unkept) == (2, 2)


async def test_too_large_an_embedding_is_given_and_not_kept(server: RedisServer) -> None:
    async with deployed(server.url, StoreLimits(max_record_bytes=100, lease_s=60)) as deployment:
        one, other, encoder = deployment.store(), deployment.store(), Encoder()
        assert (await ask(one, encoder)).source == ENCODED
        await one.close()
        assert (await ask(other, encoder)).source == ENCODED  # at once: the lease was given back
        assert one.counters.unkept == 1


async def test_names_tell_nothing_and_everything_expires(server: RedisServer) -> None:
    async with deployed(server.url, StoreLimits(ttl_s=1000)) as deployment:
        with server.client() as client:
            client.flushall()
            store = deployment.store()
            await ask(store, Encoder(), tenant="the tenant")
            await store.close()
            (name,) = client.keys("*")
            assert 800_000 < client.pttl(name) <= 1_000_000
    digest = hashlib.sha256(CONTENT).hexdigest().encode()
    assert digest not in name
    assert b"tenant" not in name


# Shared


async def test_ten_callers_at_two_gateways_cost_one_encode(deployment: Deployment) -> None:
    stores, encoder = [deployment.store(), deployment.store()], Encoder(held=True)
    tasks = [asyncio.create_task(ask(stores[i % 2], encoder)) for i in range(10)]
    await asked(*tasks)
    encoder.end.set()
    got = await asyncio.gather(*tasks)
    assert encoder.calls == 1
    assert encoded_once(stored.source for stored in got)
    assert len({stored.embedding.values.SerializeToString() for stored in got}) == 1
    assert sum(store.counters.misses for store in stores) == 1
    assert sum(store.counters.shared + store.counters.hits for store in stores) == 9


class Processes:
    """Processes that each run ``asker.py`` on one medium."""

    def __init__(self, server: RedisServer) -> None:
        self.server, self.name = server, uuid.uuid4().hex
        self.running: list[asyncio.subprocess.Process] = []

    async def start(self, callers: int, encode_s: float) -> asyncio.subprocess.Process:
        arguments = (self.server.url, self.name, str(callers), str(encode_s))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.redis.asker",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        self.running.append(process)
        return process

    async def until(self, key: str, value: int) -> None:
        with self.server.client() as client:
            for _ in range(1000):
                if int(client.get(f"{key}:{self.name}") or 0) == value:
                    return
                await asyncio.sleep(0.02)
        raise AssertionError(f"{key} never was {value}")

    def go(self) -> None:
        with self.server.client() as client:
            client.set(f"go:{self.name}", 1)

    def encodes(self) -> int:
        with self.server.client() as client:
            return int(client.get(f"encodes:{self.name}") or 0)

    async def aclose(self) -> None:
        for process in self.running:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_ten_callers_in_two_processes_cost_one_encode(server: RedisServer) -> None:
    async with aclosing(Processes(server)) as processes:
        running = [await processes.start(callers=5, encode_s=0.5) for _ in range(2)]
        await processes.until("ready", 2)
        processes.go()
        sources = [source for process in running for source in (await process.communicate())[0].split()]
        assert processes.encodes() == 1
        assert encoded_once(map(int, sources))


async def test_a_killed_leader_hands_over(server: RedisServer) -> None:
    async with aclosing(Processes(server)) as processes:
        leader = await processes.start(callers=1, encode_s=600)
        await processes.until("ready", 1)
        processes.go()
        await processes.until("encodes", 1)
        follower = await processes.start(callers=3, encode_s=0)
        await processes.until("ready", 2)
        os.kill(leader.pid, signal.SIGKILL)
        output, _ = await follower.communicate()
        assert encoded_once(map(int, output.split()))
        assert processes.encodes() == 2


async def test_a_leader_that_lives_is_waited_for_longer_than_its_lease(server: RedisServer) -> None:
    async with deployed(server.url, StoreLimits(lease_s=1.5)) as deployment:
        encoder = Encoder(held=True)
        tasks = [asyncio.create_task(ask(deployment.store(), encoder)) for _ in range(2)]
        await asyncio.sleep(3.5)
        encoder.end.set()
        assert encoded_once(stored.source for stored in await asyncio.gather(*tasks))
        assert encoder.calls == 1


async def test_a_cancelled_leader_hands_over_at_once(server: RedisServer) -> None:
    async with deployed(server.url, StoreLimits(lease_s=600)) as deployment:
        leading, following = Encoder(held=True), Encoder()
        leader = asyncio.create_task(ask(deployment.store(), leading))
        await leading.entered.wait()
        follower = asyncio.create_task(ask(deployment.store(), following))
        await asked(follower)
        assert following.calls == 0
        leader.cancel()
        async with asyncio.timeout(GENEROUS_S):
            assert (await follower).source == ENCODED
        assert leading.cancelled == following.calls == 1


async def test_a_cancelled_leader_leaves_its_encode_to_the_others_of_its_gateway(deployment: Deployment) -> None:
    store, encoder = deployment.store(), Encoder(held=True)
    leader, *followers = (asyncio.create_task(ask(store, encoder)) for _ in range(3))
    await encoder.entered.wait()
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)
    encoder.end.set()
    assert [stored.source for stored in await asyncio.gather(*followers)] == [SHARED, SHARED]
    assert (encoder.calls, encoder.cancelled) == (1, 0)


async def test_a_leader_out_of_time_hands_over_in_its_gateway(deployment: Deployment) -> None:
    store, hasty, patient = deployment.store(), Encoder(held=True, error=DeadlineError("x")), Encoder()
    leader = asyncio.create_task(ask(store, hasty))
    await hasty.entered.wait()
    follower = asyncio.create_task(ask(store, patient))
    await asked(follower)
    hasty.end.set()
    with pytest.raises(DeadlineError):
        await leader
    assert (await follower).source == ENCODED
    assert patient.calls == 1


async def test_a_caller_waits_no_longer_than_it_may(deployment: Deployment) -> None:
    encoder = Encoder(held=True)
    leader = asyncio.create_task(ask(deployment.store(), encoder))
    await encoder.entered.wait()
    with pytest.raises(DeadlineError):
        await ask(deployment.store(), encoder, timeout_s=0.2)
    encoder.end.set()
    assert (await leader).source == ENCODED


async def test_who_lost_the_lease_keeps_nothing_and_ends_nothing(deployment: Deployment, server: RedisServer) -> None:
    deployment.store()
    (link,), key = deployment.links, uuid.uuid4().bytes
    records = SharedRecords(link, lease_s=60)
    assert await records.find(key, b"first") == "ours"
    assert await records.find(key, b"second") == "theirs"
    with server.client() as client:  # the first one's lease runs out
        client.delete(*client.keys(f"*{key.hex()}*lease"))
    assert await records.find(key, b"second") == "ours"
    assert not await records.keep(key, b"first", b"stale", 60)
    await records.release(key, b"first")
    assert await records.find(key, b"third") == "theirs"
    assert await records.keep(key, b"second", b"fresh", 60)
    assert await records.find(key, b"third") == b"fresh"


# Refused media and other errors


async def test_a_refusal_is_kept_for_a_while(server: RedisServer) -> None:
    async with deployed(server.url, StoreLimits(refusal_ttl_s=30)) as deployment:
        one, other = deployment.store(), deployment.store()
        encoder = Encoder(error=MediaError("It is cut short.", field="image"))
        for store in (one, one, other):
            with pytest.raises(MediaError) as refused:
                await ask(store, encoder)
            await store.close()
            assert (type(refused.value), refused.value.message, refused.value.field) == (
                MediaError,
                "It is cut short.",
                "",
            )
        assert encoder.calls == 1
        assert (one.counters.misses, one.counters.refused, other.counters.refused) == (1, 1, 1)
        with server.client() as client:
            assert any(0 < client.pttl(name) <= 30_000 for name in client.keys("trichord:embedding:*"))


async def test_a_refusal_is_shared_and_each_caller_names_its_own_part(deployment: Deployment) -> None:
    store, encoder = deployment.store(), Encoder(held=True, error=MediaError("x"))
    tasks = [asyncio.create_task(ask(store, encoder)) for _ in range(3)]
    await encoder.entered.wait()
    encoder.end.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    for i, error in enumerate(errors):
        assert isinstance(error, MediaError)
        error.at(str(i))
    assert [error.field for error in errors if isinstance(error, MediaError)] == ["0", "1", "2"]


async def test_other_errors_are_shared_and_not_kept(deployment: Deployment) -> None:
    store = deployment.store()
    encoder = Encoder(held=True, error=UnavailableError("away", field="messages[0]", retry_after_s=3))
    tasks = [asyncio.create_task(ask(store, encoder)) for _ in range(3)]
    await encoder.entered.wait()
    encoder.end.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [(type(e), str(e), e.field, e.retry_after_s) for e in errors if isinstance(e, UnavailableError)] == [
        (UnavailableError, "away", "", 3)
    ] * 3
    assert len({id(error) for error in errors}) == 3
    assert (await ask(deployment.store(), Encoder())).source == ENCODED
    assert encoder.calls == 1


# Bad servers


async def test_a_corrupt_record_is_thrown_away(deployment: Deployment, server: RedisServer) -> None:
    store, encoder = deployment.store(), Encoder()
    with server.client() as client:
        client.flushall()
        await ask(store, encoder)
        await store.close()
        (name,) = client.keys("trichord:embedding:*")
        client.setrange(name, 200, b"\xff")
    assert (await ask(store, encoder)).source == ENCODED
    await store.close()
    assert (await ask(store, encoder)).source == STORE
    assert (encoder.calls, store.counters.corrupt) == (2, 1)


async def test_a_record_of_another_key_is_thrown_away(deployment: Deployment, server: RedisServer) -> None:
    store, encoder = deployment.store(), Encoder()
    with server.client() as client:
        client.flushall()
        await ask(store, encoder, tenant="a")
        await store.close()
        (name,) = client.keys("trichord:embedding:*")
        await ask(store, encoder, tenant="b")
        await store.close()
        (other,) = set(client.keys("trichord:embedding:*")) - {name}
        client.copy(name, other, replace=True)
    assert (await ask(store, encoder, tenant="b")).source == ENCODED
    assert store.counters.corrupt == 1


async def misses(url: str, times: int = 8, link_timeout_s: float = 0.05) -> StoreCounters:
    """Asks ever again through a bad server: each time an encode, within the bound of the link and its breaker."""
    async with deployed(url, timeout_s=link_timeout_s) as deployment:
        store, encoder = deployment.store(), Encoder()
        async with asyncio.timeout(GENEROUS_S):
            for _ in range(times):
                stored = await ask(store, encoder)
                assert (stored.source, stored.embedding) == (ENCODED, embedding_of(CONTENT))
        assert encoder.calls == store.counters.misses == times
        await store.close()
        return store.counters


async def test_a_refused_server_is_a_miss(tmp_path: Path) -> None:
    assert (await misses(f"unix://{tmp_path}/nothing")).redis_failures >= 8


async def test_a_hung_server_is_a_miss(own_server: RedisServer) -> None:
    own_server.pause()
    assert (await misses(own_server.url)).redis_failures >= 8


async def test_a_slow_server_is_a_miss(server: RedisServer) -> None:
    async with proxied(server) as proxy:
        proxy.delay_s = lambda: 0.5
        assert (await misses(proxy.url)).redis_failures >= 8


@pytest.mark.parametrize("answer", [b"$3\r\nabc\r\n", b"*0\r\n", b":7\r\n", b"+OK\r\n"])
async def test_a_lying_server_is_a_miss(answer: bytes) -> None:
    async with answering(answer) as url:
        assert (await misses(url, link_timeout_s=30)).corrupt == 8


@pytest.mark.parametrize("answer", [b"$-1\r\n", b":1\r\n", b"nonsense\r\n"])
async def test_a_server_that_keeps_nothing_is_a_miss(answer: bytes) -> None:
    async with answering(answer) as url:
        assert (await misses(url)).corrupt == 0


async def test_a_server_that_puts_everybody_off_is_believed_for_a_while_only() -> None:
    async with answering(b":0\r\n") as url, deployed(url, StoreLimits(max_wait_s=0.1)) as deployment:
        encoder = Encoder()
        async with asyncio.timeout(GENEROUS_S):
            assert (await ask(deployment.store(), encoder)).source == ENCODED
        assert encoder.calls == 1


async def test_without_a_server_callers_of_one_gateway_still_share(tmp_path: Path) -> None:
    async with deployed(f"unix://{tmp_path}/nothing") as deployment:
        store, encoder = deployment.store(), Encoder(held=True)
        tasks = [asyncio.create_task(ask(store, encoder)) for _ in range(10)]
        await encoder.entered.wait()
        encoder.end.set()
        assert sorted(stored.source for stored in await asyncio.gather(*tasks)) == [ENCODED] + [SHARED] * 9
        assert encoder.calls == 1


async def test_who_waits_for_another_gateway_when_the_server_hangs_encodes(own_server: RedisServer) -> None:
    async with deployed(own_server.url, timeout_s=0.5) as deployment:
        leading, following = Encoder(held=True), Encoder()
        leader = asyncio.create_task(ask(deployment.store(), leading))
        await leading.entered.wait()
        follower = asyncio.create_task(ask(deployment.store(), following))
        await asked(follower)
        assert following.calls == 0
        own_server.pause()
        async with asyncio.timeout(GENEROUS_S):
            assert (await follower).source == ENCODED
        leading.end.set()
        assert (await leader).source == ENCODED
