"""Images and sounds in metrics: where embeddings came from and how long that took, what was held, skipped, fetched."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.metrics_lab import Page
from tests.redis_lab import RedisServer
from tests.unit.gateway.fakes import forever, raising
from tests.unit.gateway.fetch.conftest import HOST, World, whole, world
from tests.unit.gateway.lab import Lab, audio, chat_request, image, kinds, refused, text
from tests.unit.gateway.waking.lab import sleepy_lab
from trichord.errors import MediaError, OverloadedError, TrichordError, UnavailableError
from trichord.v1 import gateway_pb2

__all__ = ["world"]

ENCODE = "trichord_encode_duration_seconds"
LOOKUPS = "trichord_store_lookups_total"


async def test_an_encode_and_a_store_hit_are_told_apart(lab: Lab, page: Page) -> None:
    for _ in range(3):
        await lab.ask(image(), audio(b"AB"))
        await asyncio.sleep(0)
        await asyncio.gather(*lab.cluster.embeddings._background)  # what is kept afterwards is kept
    for modality in ("image", "audio"):
        assert page.gained(f"{ENCODE}_count", modality=modality, source="encoded") == 1
        assert page.gained(f"{ENCODE}_count", modality=modality, source="store") == 2
    assert page.gained("trichord_image_tiles_total", source="encoded") == 1
    assert page.gained("trichord_image_tiles_total", source="store") == 2
    assert page.gained("trichord_audio_seconds_total", source="encoded") == 3.0
    assert page.gained("trichord_audio_seconds_total", source="store") == 6.0
    assert page.gained(LOOKUPS, result="miss") == 2
    assert page.gained(LOOKUPS, result="hit") == 4


async def test_an_item_takes_what_its_receipt_says(lab: Lab, page: Page) -> None:
    async def slowly(content: bytes) -> None:
        await asyncio.sleep(0.05)  # the fake tells fixed times; they must fit in

    lab.vision.step = slowly
    (item,) = (await lab.ask(image()))[-1].finished.receipt.items
    accounted_ms = item.store_ms + item.queue_ms + item.decode_ms + item.encode_ms + item.transfer_ms
    assert page.gained(f"{ENCODE}_sum") * 1e3 == pytest.approx(accounted_ms, rel=1e-3)


async def test_who_asks_for_what_is_being_encoded_takes_the_same_flight(lab: Lab, page: Page) -> None:
    may_go_on = asyncio.Event()

    async def slowly(content: bytes) -> None:
        await may_go_on.wait()

    lab.vision.step = slowly
    asking = asyncio.gather(lab.ask(image(), image()), lab.ask(image()))
    await lab.vision.calls.entered.wait()
    await asyncio.sleep(0.2)
    may_go_on.set()
    await asking
    assert page.gained(f"{ENCODE}_count", source="encoded") == page.gained(LOOKUPS, result="miss") == 1
    assert page.gained(f"{ENCODE}_count", source="flight") == page.gained(LOOKUPS, result="flight") == 2


async def test_what_cannot_be_decoded_is_not_asked_for_again(lab: Lab, page: Page) -> None:
    lab.vision.step = raising(MediaError("Not an image."))
    for _ in range(2):
        with refused():
            await lab.ask(image())
        await asyncio.gather(*lab.cluster.embeddings._background)
    assert (page.gained(LOOKUPS, result="miss"), page.gained(LOOKUPS, result="refused")) == (1, 1)
    assert page.gained(f"{ENCODE}_count") == 0


async def test_encode_and_count_are_seen_too(lab: Lab, page: Page) -> None:
    await lab.stub.Encode(gateway_pb2.EncodeRequest(part=image(b"1")))
    messages = chat_request(image(b"2")).messages
    await lab.stub.CountTokens(gateway_pb2.OmniServiceCountTokensRequest(messages=messages))
    assert page.gained(f"{ENCODE}_count", modality="image", source="encoded") == 2
    assert page.gained("trichord_requests_total") == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OverloadedError("Full.", retry_after_s=9), "OVERLOADED"), (UnavailableError("Gone."), "UNAVAILABLE")],
)
async def test_an_answer_without_an_item_is_counted(lab: Lab, page: Page, error: TrichordError, reason: str) -> None:
    lab.audio.step = raising(error)
    request = chat_request(text(), audio(), degradation=gateway_pb2.DEGRADATION_ANSWER_WITHOUT)
    assert kinds(await lab.chat(request))[-1] == "finished"
    assert page.labels("trichord_skipped_items_total") == [{"modality": "audio", "reason": reason}]


async def test_waits_for_a_sleeping_encoder_are_timed_and_the_rest_is_shed(
    tmp_path: Path, redis_server: RedisServer, page_url: str
) -> None:
    async with sleepy_lab(tmp_path, redis_server, max_held=1) as sleepy:
        page = Page(page_url)
        held = asyncio.create_task(sleepy.lab.ask(image(b"1")))
        await sleepy.holds(1)
        with refused():
            await sleepy.lab.ask(image(b"2"))
        assert page.labels("trichord_sheds_total") == [{"reason": "room_full", "modality": "image"}]
        sleepy.wake()
        receipt = (await held)[-1].finished.receipt
        assert page.gained("trichord_wake_wait_seconds_count", modality="image") == 1
        waited_s = receipt.items[0].wake_ms / 1e3
        assert page.gained("trichord_wake_wait_seconds_sum") == pytest.approx(waited_s, abs=0.1)


async def test_a_wait_that_is_given_up_is_timed_too(tmp_path: Path, redis_server: RedisServer, page_url: str) -> None:
    async with sleepy_lab(tmp_path, redis_server) as sleepy:
        page = Page(page_url)
        held = asyncio.create_task(sleepy.lab.ask(image()))
        await sleepy.holds(1)
        held.cancel()
        await page.until(1, "trichord_wake_wait_seconds_count", modality="image")


@pytest.mark.parametrize(("path", "outcome"), [("/picture", "ok"), ("/empty", "INVALID_MEDIA")])
async def test_fetches_are_timed_by_what_came_of_them(
    lab: Lab, page: Page, world: World, path: str, outcome: str
) -> None:
    world.answers = {"/picture": whole(), "/empty": whole(b"")}
    lab.cluster.sources._fetcher = world.fetcher()
    part = gateway_pb2.Part(image_url=f"https://{HOST}{path}")
    request = chat_request(text(), part)
    if outcome == "ok":
        await lab.chat(request)
    else:
        with refused():
            await lab.chat(request)
    assert page.labels("trichord_fetch_duration_seconds_count") == [{"outcome": outcome}]


async def test_text_waits_for_no_encoder_and_each_lane_is_its_own(lab: Lab, page: Page) -> None:
    lab.vision.step = forever
    call = lab.stub.Chat(chat_request(image()), timeout=60)
    await lab.vision.calls.entered.wait()
    await lab.ask(text(), audio())
    call.cancel()
    for modality in ("text", "image", "audio"):
        assert page.gained("trichord_queue_delay_seconds_count", modality=modality) == 1
