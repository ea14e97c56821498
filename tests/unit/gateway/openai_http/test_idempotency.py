"""One answer for all requests under one key."""

from __future__ import annotations

import asyncio

import pytest

from gateway.openai_http.idempotency import ENTRY_BYTES, MemoryIdempotency, Slot, Stored
from tests.unit.gateway.fakes import hello
from tests.unit.gateway.openai_http.http_lab import HttpLab, error_of, sse
from tests.unit.gateway.openai_http.test_http_leaving import Held
from trichord.errors import ConflictError, UnavailableError

ANSWER = Stored("application/json", b"{}")
KEYED = {"idempotency-key": "k"}


def slot(key: str = "k", tenant: str = "acme", digest: bytes = b"1") -> Slot:
    return Slot(tenant, key, digest)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryIdempotency:
    return MemoryIdempotency(max_bytes=2 * (ENTRY_BYTES + 2), ttl_s=10, clock=clock)


async def test_running_then_finished_then_forgotten(store: MemoryIdempotency, clock: Clock) -> None:
    assert await store.claim(slot()) is None
    with pytest.raises(ConflictError) as running:
        await store.claim(slot())
    assert running.value.retry_after_s == 1
    await store.finish(slot(), ANSWER)
    assert await store.claim(slot()) == ANSWER
    clock.now_s = 10
    assert await store.claim(slot()) is None


async def test_another_body_is_refused_for_good_while_the_key_lives(store: MemoryIdempotency) -> None:
    await store.claim(slot())
    for _ in ("running", "finished"):
        with pytest.raises(ConflictError) as other:
            await store.claim(slot(digest=b"2"))
        assert other.value.retry_after_s is None
        if _ == "running":
            await store.finish(slot(), ANSWER)


async def test_tenants_do_not_share_keys(store: MemoryIdempotency) -> None:
    await store.claim(slot())
    await store.finish(slot(), ANSWER)
    assert await store.claim(slot(tenant="other")) is None


async def test_what_failed_may_be_sent_again(store: MemoryIdempotency) -> None:
    await store.claim(slot())
    await store.release(slot())
    assert await store.claim(slot(digest=b"2")) is None


async def test_the_oldest_give_way_and_what_is_too_large_is_not_kept(store: MemoryIdempotency) -> None:
    for key in "abc":
        await store.claim(slot(key))
        await store.finish(slot(key), ANSWER)
    assert await store.claim(slot("b")) == await store.claim(slot("c")) == ANSWER
    assert await store.claim(slot("a")) is None
    await store.finish(slot("a"), Stored("application/json", b"x" * 5000))
    assert await store.claim(slot("a")) is None
    assert await store.claim(slot("b")) == await store.claim(slot("c")) == ANSWER


@pytest.mark.parametrize("stream", [False, True])
async def test_a_finished_answer_is_repeated(http: HttpLab, stream: bool) -> None:
    first, second = [await http.complete(headers=KEYED, stream=stream) for _ in range(2)]
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(http.lab.decoder.calls.requests) == 1
    other = await http.complete(headers={**KEYED, "authorization": "Bearer key-of-other"}, stream=stream)
    assert "idempotent-replayed" not in other.headers


async def test_another_body_under_the_key_is_refused(http: HttpLab) -> None:
    await http.complete(headers=KEYED)
    refused = await http.complete(headers=KEYED, seed=1)
    assert (refused.status_code, error_of(refused)["code"]) == (409, "idempotency_conflict")
    assert refused.headers["x-should-retry"] == "false"


async def test_the_same_request_in_progress_is_refused_for_now(http: HttpLab) -> None:
    held = Held()
    http.lab.decoder.answer = held.answer
    first = asyncio.create_task(http.complete(headers=KEYED))
    await asyncio.wait_for(http.lab.decoder.calls.entered.wait(), 20)
    refused = await http.complete(headers=KEYED)
    assert (refused.status_code, error_of(refused)["code"]) == (409, "idempotency_conflict")
    assert (refused.headers["x-should-retry"], refused.headers["retry-after"]) == ("true", "1")
    held.may_end.set()
    assert (await first).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_is_not_kept(http: HttpLab, stream: bool) -> None:
    http.refuse(UnavailableError("Away.", retry_after_s=1), times=1)
    assert (await http.complete(headers=KEYED, stream=stream)).status_code == 503
    assert (await http.complete(headers=KEYED, stream=stream)).status_code == 200


async def test_a_client_that_left_gives_its_key_up(http: HttpLab) -> None:
    http.lab.decoder.answer = Held().answer
    asking = asyncio.create_task(http.complete(headers=KEYED, stream=True))
    await asyncio.wait_for(http.lab.decoder.calls.entered.wait(), 20)
    asking.cancel()
    await asyncio.wait_for(http.lab.decoder.calls.idle.wait(), 20)
    http.lab.decoder.answer = hello
    async with asyncio.timeout(20):
        await http.desk.drain.idle.wait()
    assert sse(await http.complete(headers=KEYED, stream=True))[-1] == "[DONE]"
