"""Requests while vision sleeps, through a gateway: held, told, let go, refused, given up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from tests.redis_lab import RedisServer
from tests.unit.gateway.fakes import forever, image_embedding, raising
from tests.unit.gateway.lab import audio, chat_request, image, kinds, refused, text
from tests.unit.gateway.openai_http import http_lab
from tests.unit.gateway.waking.lab import IMAGE, SOON_S, SleepyLab, sleepy_lab, until
from trichord.errors import DeadlineError, MediaError, OverloadedError, UnavailableError
from trichord.v1 import gateway_pb2


async def test_a_held_request_is_told_so_and_answers_when_vision_wakes(sleepy: SleepyLab) -> None:
    call = aiter(sleepy.lab.stub.Chat(chat_request(text(), image()), timeout=60))
    assert (await anext(call)).HasField("started")
    waits = [await anext(call) for _ in range(3)]
    assert {event.waiting.modality for event in waits} == {IMAGE}
    assert {event.waiting.position for event in waits} == {0}
    assert all(event.waiting.estimated_seconds > 1 for event in waits)
    assert "vision encoder" in waits[0].waiting.reason
    sleepy.wake()
    events = [event async for event in call]
    assert [kind for kind in kinds(events) if kind != "waiting"] == ["item_encoded", "token", "token", "finished"]
    (item,) = events[-1].finished.receipt.items
    assert item.wake_ms > 0
    assert item.queue_ms < item.wake_ms
    assert sleepy.room.num_held == 0


async def test_text_and_sound_are_answered_meanwhile(sleepy: SleepyLab) -> None:
    held = asyncio.create_task(sleepy.lab.ask(image()))
    await sleepy.holds(1)
    assert kinds(await sleepy.lab.ask(text()))[-1] == "finished"
    assert kinds(await sleepy.lab.ask(audio()))[-1] == "finished"
    assert sleepy.room.num_held == 1
    sleepy.wake()
    assert kinds(await asyncio.wait_for(held, SOON_S))[-1] == "finished"


async def test_what_is_held_takes_no_slot(sleepy: SleepyLab) -> None:
    held = asyncio.create_task(sleepy.lab.ask(image()))
    await sleepy.holds(1)
    load = sleepy.lab.cluster.admission.lanes.load("image")
    assert (load.queued_cost, load.running_cost) == (0, 0)
    sleepy.wake()
    await asyncio.wait_for(held, SOON_S)
    assert load.served_cost_per_s_per_replica is not None


async def test_one_image_held_three_times_is_encoded_once(sleepy: SleepyLab) -> None:
    asked = [asyncio.create_task(sleepy.lab.ask(image(b"same"))) for _ in range(3)]
    await sleepy.holds(3)
    sleepy.wake()
    answers = await asyncio.wait_for(asyncio.gather(*asked), SOON_S)
    sources = [events[-1].finished.receipt.items[0].source for events in answers]
    assert sources.count(gateway_pb2.EMBEDDING_SOURCE_ENCODED) == 1
    assert len(sleepy.lab.vision.calls.requests) == 1


async def test_what_is_kept_wakes_nobody(sleepy: SleepyLab) -> None:
    sleepy.wake()
    await sleepy.lab.ask(image(b"1"))
    await sleepy.fall_asleep()
    await until(lambda: not sleepy.lab.cluster.embeddings._background)
    events = await sleepy.lab.ask(image(b"1"), text("and now?"))
    assert "waiting" not in kinds(events)
    assert events[-1].finished.receipt.items[0].source == gateway_pb2.EMBEDDING_SOURCE_STORE
    assert sleepy.lab.decoder.calls.requests[-1].messages[0].parts[0].embedding.values == image_embedding(b"1").values
    new = asyncio.create_task(sleepy.lab.ask(image(b"1"), image(b"2")))
    await sleepy.holds(1)
    sleepy.wake()
    assert kinds(await asyncio.wait_for(new, SOON_S))[-1] == "finished"


async def test_a_refusal_that_is_kept_wakes_nobody_either(sleepy: SleepyLab) -> None:
    sleepy.lab.vision.step = raising(MediaError("Not an image."))
    sleepy.wake()
    with refused():
        await sleepy.lab.ask(image(b"1"))
    await sleepy.fall_asleep()
    await until(lambda: not sleepy.lab.cluster.embeddings._background)
    with refused() as refusal:
        await sleepy.lab.ask(text(), image(b"1"))
    assert type(refusal.error) is MediaError
    assert refusal.error.field == "messages[0].parts[1].image_bytes"
    assert len(sleepy.lab.vision.calls.requests) == 1


async def test_what_the_decoder_does_not_accept_is_not_taken_from_what_is_kept(sleepy: SleepyLab) -> None:
    sleepy.lab.decoder.accepted_fingerprints = ["newer"]
    sleepy.wake()
    await sleepy.lab.ask(image(b"1"))
    await sleepy.fall_asleep()
    again = asyncio.create_task(sleepy.lab.ask(image(b"1")))
    await sleepy.holds(1)
    sleepy.wake()
    assert kinds(await asyncio.wait_for(again, SOON_S))[-1] == "finished"


async def test_overflow_is_refused_at_once_with_a_time(sleepy: SleepyLab) -> None:
    asked = [asyncio.create_task(sleepy.lab.ask(image(bytes([n])))) for n in range(1, 4)]
    await sleepy.holds(3)
    with refused() as refusal:
        await sleepy.lab.ask(text(), image(b"4"))
    assert isinstance(refusal.error, OverloadedError)
    assert refusal.error.field == "messages[0].parts[1].image_bytes"
    assert 1 <= (refusal.error.retry_after_s or 0) <= 60
    sleepy.wake()
    await asyncio.wait_for(asyncio.gather(*asked), SOON_S)


async def test_who_leaves_while_held_leaves_nothing(sleepy: SleepyLab) -> None:
    call = sleepy.lab.stub.Chat(chat_request(image(b"1"), image(b"2")), timeout=60)
    assert (await call.read()).HasField("started")
    await sleepy.holds(2)
    call.cancel()
    await sleepy.holds(0)
    sleepy.wake()
    assert kinds(await sleepy.lab.ask(image(b"3")))[-1] == "finished"
    assert [request.image for request in sleepy.lab.vision.calls.requests] == [b"3"]


async def test_a_deadline_ends_the_wait(sleepy: SleepyLab) -> None:
    with refused() as refusal:
        await sleepy.lab.ask(image(), timeout_s=0.5)
    assert isinstance(refusal.error, DeadlineError)
    await sleepy.holds(0)


async def test_who_would_rather_answer_without_does_not_wait(sleepy: SleepyLab) -> None:
    request = chat_request(text(), image(), degradation=gateway_pb2.DEGRADATION_ANSWER_WITHOUT)
    events = await sleepy.lab.chat(request)
    (skipped,) = [event.item_skipped for event in events if event.HasField("item_skipped")]
    assert "being woken" in skipped.reason
    assert "waiting" not in kinds(events)


async def test_encode_is_held_too(sleepy: SleepyLab) -> None:
    asked = asyncio.ensure_future(sleepy.lab.stub.Encode(gateway_pb2.EncodeRequest(part=image()), timeout=60))
    await sleepy.holds(1)
    sleepy.wake()
    assert (await asyncio.wait_for(asked, SOON_S)).receipt.wake_ms > 0


async def test_a_replica_that_is_down_is_unavailable_and_nobody_is_held(sleepy: SleepyLab) -> None:
    sleepy.wake()
    await sleepy.lab.ask(image(b"1"))
    await sleepy.lab.stop("vision")
    with refused() as refusal:
        await sleepy.lab.ask(image(b"2"))
    assert isinstance(refusal.error, UnavailableError)
    assert sleepy.room.num_held == 0


async def test_it_sleeps_and_wakes_again(sleepy: SleepyLab) -> None:
    for content in (b"1", b"2"):
        held = asyncio.create_task(sleepy.lab.ask(image(content)))
        await sleepy.holds(1)
        sleepy.wake()
        assert kinds(await asyncio.wait_for(held, SOON_S))[-1] == "finished"
        await sleepy.fall_asleep()


async def test_a_call_in_progress_ends_on_the_replica_that_left(sleepy: SleepyLab) -> None:
    finish = asyncio.Event()

    async def until_told(content: bytes) -> None:
        await finish.wait()

    sleepy.lab.vision.step = until_told
    sleepy.wake()
    asked = asyncio.create_task(sleepy.lab.ask(image()))
    await asyncio.wait_for(sleepy.lab.vision.calls.entered.wait(), SOON_S)
    await sleepy.fall_asleep()
    finish.set()
    assert kinds(await asyncio.wait_for(asked, SOON_S))[-1] == "finished"


async def test_who_loses_the_replica_before_its_turn_is_held_again(sleepy: SleepyLab) -> None:
    sleepy.lab.vision.step = forever
    sleepy.wake()
    asked = asyncio.create_task(sleepy.lab.ask(image()))
    await asyncio.wait_for(sleepy.lab.vision.calls.entered.wait(), SOON_S)
    await sleepy.fall_asleep()
    await sleepy.lab.stop("vision")
    await sleepy.holds(1)

    async def at_once(content: bytes) -> None:
        return None

    sleepy.lab.vision.step = at_once
    await sleepy.lab.restart("vision")
    sleepy.wake()
    assert kinds(await asyncio.wait_for(asked, SOON_S))[-1] == "finished"


async def test_a_stream_over_http_says_what_it_waits_for(sleepy: SleepyLab) -> None:
    async with http_lab.running_http(sleepy.lab) as http:
        body = http_lab.question(http_lab.image(), stream=True)
        async with http.client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            lines = response.aiter_lines()
            assert [await anext(lines) for _ in range(4)] == [": waking vision", "", ": waking vision", ""]
            sleepy.wake()
            rest = [line async for line in lines]
        assert rest[-2:] == ["data: [DONE]", ""]
        whole = asyncio.create_task(http.complete(messages=[http_lab.user(http_lab.image(b"2"))]))
        assert (await asyncio.wait_for(whole, SOON_S)).json()["choices"][0]["message"]["content"] == "Hello"


async def test_an_overflow_over_http_is_a_503_that_says_when_to_come_back(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    full = sleepy_lab(tmp_path, redis_server, max_held=0, startup_s=17)
    async with full as sleepy, http_lab.running_http(sleepy.lab) as http:
        response = await http.complete(messages=[http_lab.user(http_lab.image())], stream=True)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "17"


async def test_without_an_autoscaler_a_service_of_no_replicas_is_unavailable(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async with sleepy_lab(tmp_path, redis_server, autoscaled=False) as sleepy:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sleepy.lab.ask(image())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
