"""The stage waterfall and the usage under an answer."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from playwright.async_api import Browser, expect

from gateway.playground import pages
from tests.browser.browser_lab import PHONE, Playground, png, running_playground, told_at_the_end
from tests.unit.gateway.lab import Lab

GATEWAY = ("admit_ms", "merge_ms", "queue_ms")
ITEM = ("fetch_ms", "store_ms", "queue_ms", "decode_ms", "encode_ms", "transfer_ms")
DECODER = ("tokenize_ms", "queue_ms", "prefill_ms", "decode_ms")


async def slowly(content: bytes) -> None:
    await asyncio.sleep(0.02)


async def ask_about_both(playground: Playground) -> dict[str, Any]:
    """Asks about an image and a sound; the receipt that the page was sent."""
    playground.lab.vision.step = playground.lab.audio.step = slowly
    await playground.attach("image", "cat.png", png())
    await playground.attach("audio", "purr.wav", b"A")
    receipt: dict[str, Any] = (await told_at_the_end(playground, "What is this?"))["receipt"]
    await expect(playground.page.locator(".waterfall")).to_be_visible()
    return receipt


async def bars_of(playground: Playground) -> dict[str, dict[str, float]]:
    """Each bar's left and right edge in pixels, by its owner and stage."""
    told: dict[str, dict[str, float]] = await playground.page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".waterfall .stage")].map((bar) => {
            const { left, right } = bar.getBoundingClientRect();
            return [`${bar.dataset.owner} ${bar.dataset.stage}`, { left, right }];
        }))"""
    )
    return told


async def test_every_stage_that_took_time_has_a_bar(playground: Playground) -> None:
    receipt = await ask_about_both(playground)
    expected = sum(receipt[name] > 0 for name in GATEWAY) + sum(receipt["decoder"][name] > 0 for name in DECODER)
    expected += sum(item[name] > 0 for item in receipt["items"] for name in ITEM)
    assert expected >= 2 + 4 + 2 * 3
    await expect(playground.page.locator(".waterfall .stage")).to_have_count(expected)
    await expect(playground.page.locator(".waterfall .lane")).to_have_count(4)
    await expect(playground.page.locator(".stages tr")).to_have_count(4)
    names = playground.page.locator(".waterfall .lane-name")
    await expect(names).to_have_text(["Gateway", "Image 1", "Sound 1", "Decoder"])


async def test_bars_stand_in_the_order_of_the_work(playground: Playground) -> None:
    await ask_about_both(playground)
    bars = await bars_of(playground)
    order = ["image queue", "image decode", "image encode", "image transfer"]
    for before, after in pairwise(order):
        assert bars[before]["left"] < bars[after]["left"]
    assert bars["gateway admit"]["right"] <= bars["image queue"]["left"] + 2
    assert bars["image transfer"]["right"] <= bars["decoder prefill"]["left"] + 2
    mark = await playground.page.locator(".waterfall .first").bounding_box()
    assert mark is not None
    assert abs(mark["x"] - bars["decoder decode"]["left"]) < 2


async def test_a_bar_and_the_picture_have_names(playground: Playground) -> None:
    await ask_about_both(playground)
    name = await playground.page.locator(".waterfall").get_attribute("aria-label")
    assert name is not None
    assert name.startswith("First token after ")
    tip = await playground.page.locator('[data-owner="audio"][data-stage="encode"] title').text_content()
    assert tip is not None
    assert tip.startswith("Sound 1: encode 3.0 ms, from ")


async def test_text_alone_has_two_lanes(playground: Playground) -> None:
    await playground.send("Hi")
    await expect(playground.page.locator(".waterfall .lane-name")).to_have_text(["Gateway", "Decoder"])


async def test_an_embedding_that_was_kept_is_said_to_be(playground: Playground) -> None:
    await ask_about_both(playground)
    again = await told_at_the_end(playground, "And its colour?")
    assert [item["source"] for item in again["receipt"]["items"]] == ["EMBEDDING_SOURCE_STORE"] * 2
    lanes = playground.page.locator(".turn:last-child .waterfall text").filter(has_text="kept · ")
    await expect(lanes).to_have_count(2)


async def test_usage_is_told_by_modality(playground: Playground) -> None:
    await playground.send("Hi")
    facts = playground.page.locator(".facts")
    for modality, words in (("text", "7 text"), ("image", "2 image"), ("audio", "5 sound")):
        await expect(facts.locator(f'[data-modality="{modality}"]')).to_contain_text(words)
    await expect(facts).to_contain_text("→ 3 tokens")


async def test_media_are_counted_beside_their_tokens(playground: Playground) -> None:
    await ask_about_both(playground)
    facts = playground.page.locator(".facts")
    await expect(facts).to_contain_text("2 image (1 tile)")
    await expect(facts).to_contain_text("5 sound (1.5 s)")


async def test_the_picture_fits_a_phone(lab: Lab, browser: Browser) -> None:
    async with running_playground(lab, browser, viewport=PHONE, is_mobile=True, has_touch=True) as playground:
        await playground.open()
        await ask_about_both(playground)
        box = await playground.page.locator(".waterfall").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]


async def test_a_long_answer_leaves_room_for_what_comes_before_it(playground: Playground) -> None:
    share = await playground.page.evaluate(
        """async () => {
            const { Scale } = await import("/playground/scale.js");
            const scale = new Scale({ firstTokenMs: 100, totalMs: 100000 }, 0, 1000);
            return [scale.at(0), scale.at(50), scale.at(100), scale.at(100000), scale.isBent, scale.ticks(60)];
        }"""
    )
    assert share == [0, 330, 660, 1000, True, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]]


def test_files_are_small_and_served_by_their_own_names() -> None:
    paths = {route.path for route in pages.routes()}
    assert {"/", "/playground/main.js", "/playground/theme.css", "/playground/icon.svg"} <= paths
    assert all(path == "/" or path.startswith("/playground/") for path in paths)
