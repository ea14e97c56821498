"""The pages of the keeper of traces, in a real browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

import local_cluster.traces
from local_cluster.traces.store import TraceStore
from tests.browser.browser_lab import DESKTOP, PHONE, REFUSED
from tests.browser.test_safety import CANARY, DANGEROUS
from tests.unit.local_cluster.traces.traces_lab import TRACE_ID, chat_trace, filled, serving, span
from trichord.web import files

FAILED = "f" * 32


@asynccontextmanager
async def running_page(store: TraceStore, browser: Browser, **context: Any) -> AsyncIterator[tuple[Page, str]]:
    """A tab that no page is open in yet. On exit no page must have complained."""
    options = {"viewport": DESKTOP, "reduced_motion": "reduce", **context}
    complaints: list[str] = []
    async with serving(store) as url, await browser.new_context(**options) as tab:
        page = await tab.new_page()
        page.on("console", lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page, url
    assert [told for told in complaints if not told.startswith(REFUSED)] == []


@pytest.fixture
def store() -> TraceStore:
    return filled([*chat_trace(), *chat_trace(FAILED, error="INVALID_MEDIA")])


async def open_trace(page: Page, url: str, trace_id: str = TRACE_ID) -> None:
    await page.goto(f"{url}/traces/{trace_id}")
    await page.locator("#rows .row").first.wait_for()


async def box(element: Locator) -> dict[str, float]:
    found = await element.bounding_box()
    assert found is not None
    return dict(found)  # type: ignore[arg-type]


async def test_a_list_names_each_request_and_leads_to_it(store: TraceStore, browser: Browser) -> None:
    async with running_page(store, browser) as (page, url):
        await page.goto(url)
        lines = page.locator(".line")
        await expect(lines).to_have_count(2)
        await expect(lines.filter(has_text="1.24 s")).to_contain_text("305 ms")
        await expect(page.locator(".line.failed .badge.bad")).to_have_text("INVALID_MEDIA")
        await lines.filter(has_text="1.24 s").click()
        await page.wait_for_url(f"**/traces/{TRACE_ID}")
        await expect(page.locator("#rows > li")).to_have_count(25)


async def test_a_search_narrows_the_list_and_stays_in_the_address(store: TraceStore, browser: Browser) -> None:
    async with running_page(store, browser) as (page, url):
        await page.goto(url)
        lines = page.locator(".line")
        await page.get_by_label("Search").fill("llm-decoder")
        await expect(lines).to_have_count(1)
        await page.get_by_label("Search").fill("")
        await page.get_by_label("Errors only").check()
        await expect(lines).to_have_count(1)
        await expect(lines).to_contain_text("INVALID_MEDIA")
        await page.get_by_label("Shortest duration").fill("1000")
        await expect(page.locator("#empty")).to_be_visible()
        await expect(page.locator("#empty")).to_have_text("No trace is like that.")
        assert page.url.endswith("?errors=true&min_ms=1000")
        await page.reload()
        await expect(page.get_by_label("Errors only")).to_be_checked()
        await expect(page.get_by_label("Shortest duration")).to_have_value("1000")


async def test_the_list_follows_what_comes(browser: Browser) -> None:
    empty = filled([])
    async with running_page(empty, browser) as (page, url):
        await page.goto(url)
        await expect(page.locator("#empty")).to_contain_text("No request has come yet")
        for one in chat_trace():
            empty.add(one)
        await expect(page.locator(".line")).to_have_count(1)
        await expect(page.locator("#empty")).to_be_hidden()


async def test_bars_stand_in_tree_order_on_one_clock(store: TraceStore, browser: Browser) -> None:
    async with running_page(store, browser) as (page, url):
        await open_trace(page, url)
        names = await page.locator("#rows .name").all_inner_texts()
        assert names[:4] == ["OmniService/Chat", "chat smol", "admit", "encode image image"]
        labels = ("OmniService/Chat", "prefill", "decode", "merge")
        rows = [page.locator("#rows > li").filter(has=page.get_by_text(label, exact=True)) for label in labels]
        whole, prefill, decode, merge = [await box(row.locator(".span")) for row in rows]
        per_ms = whole["width"] / 1240
        assert abs(prefill["width"] - 103 * per_ms) < 1.5
        assert abs(prefill["x"] + prefill["width"] - decode["x"]) < 1.5
        assert abs(merge["x"] - whole["x"] - 182.5 * per_ms) < 1.5
        first = await box(page.locator("#rows .grid.first").first)
        assert abs(first["x"] - decode["x"]) < 3


async def test_the_stretch_to_the_first_token_can_be_looked_at_alone(store: TraceStore, browser: Browser) -> None:
    async with running_page(store, browser) as (page, url):
        await open_trace(page, url)
        bars = page.locator("#rows .span")
        await expect(bars).to_have_count(25)
        await page.get_by_role("button", name="To the first token").click()
        lane, prefill = page.locator("#rows .lane").first, page.locator('[data-span="0000000000000018"] .span')
        outer, inner = await box(lane), await box(prefill)
        assert abs(inner["width"] / outer["width"] - 103 / 305) < 0.01
        await page.get_by_role("button", name="All").click()
        await expect(page.get_by_role("button", name="All")).to_have_attribute("aria-pressed", "true")


async def test_each_hop_has_its_colour_and_a_legend(store: TraceStore, browser: Browser) -> None:
    async with running_page(store, browser) as (page, url):
        await open_trace(page, url)
        paints = await page.evaluate(
            "Object.fromEntries([...document.querySelectorAll('#rows > li')].map((row) => [row.dataset.hop + "
            "row.dataset.shade, getComputedStyle(row.querySelector('.span')).backgroundColor]))"
        )
        assert len(paints) == len(set(paints.values())) == 10
        legend = await page.evaluate(
            "[...document.querySelectorAll('#legend .swatch')].map((one) => getComputedStyle(one).backgroundColor)"
        )
        assert set(legend) == set(paints.values())
        first = page.locator("#legend li")
        await expect(first).to_have_count(4)
        await expect(first.filter(has_text="vision-encoder")).to_have_text("vision-encodertritonmodel")


async def test_a_click_opens_what_a_span_says(store: TraceStore, browser: Browser) -> None:
    async with running_page(store, browser) as (page, url):
        await open_trace(page, url)
        row = page.locator('[data-span="0000000000000013"]')
        await row.locator(".row").click()
        details = row.locator(".details")
        await expect(details).to_contain_text("trichord.v1.DecoderService/Generate")
        await expect(details.locator("dd").filter(has_text="first token")).to_have_count(1)
        await expect(row.locator(".row")).to_have_attribute("aria-expanded", "true")
        await row.get_by_role("button", name="Look closer").click()
        await expect(page.get_by_role("button", name="DecoderService/Generate", exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
        await row.locator(".row").click()
        await expect(details).to_have_count(0)


async def test_the_keyboard_reaches_everything(store: TraceStore, browser: Browser) -> None:
    async with running_page(store, browser) as (page, url):
        await open_trace(page, url)
        await page.locator("#rows .row").first.focus()
        for key in ("ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
            await page.keyboard.press(key)
        opened = page.locator("#rows > li").nth(1)
        await expect(opened.locator(".details")).to_contain_text("gen_ai.request.model")
        await expect(opened.locator(".row")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.locator(".details")).to_have_count(0)
        await page.keyboard.press("End")
        await expect(page.locator("#rows .row").last).to_be_focused()
        label = await page.locator("#rows .row").last.get_attribute("aria-label")
        assert label == "decode, llm-decoder-model, 933 ms, from 304 ms on"


async def test_what_failed_is_red_down_to_where_it_began(store: TraceStore, browser: Browser) -> None:
    async with running_page(store, browser) as (page, url):
        await open_trace(page, url, FAILED)
        await expect(page.locator("#story")).to_have_text(
            "Failed: INVALID_MEDIA. It began in vision-encoder, at decode image."
        )
        await expect(page.locator("#rows > .failed")).to_have_count(6)
        await expect(page.locator("#rows .badge")).to_have_count(1)
        red = await page.evaluate("getComputedStyle(document.querySelector('.failed .span')).backgroundColor")
        calm = await page.evaluate("getComputedStyle(document.querySelector('li:not(.failed) .span')).backgroundColor")
        told = await page.evaluate("getComputedStyle(document.querySelector('#story')).color")
        assert red == told != calm


async def test_a_caller_that_left_is_marked_and_not_red(browser: Browser) -> None:
    async with running_page(filled(chat_trace(error="CANCELLED")), browser) as (page, url):
        await open_trace(page, url)
        await expect(page.locator("#story")).to_have_text("The caller left before the end.")
        await expect(page.locator("#rows > .cancelled")).to_have_count(6)
        await expect(page.locator("#rows > .failed")).to_have_count(0)


async def test_a_trace_grows_while_it_comes_and_keeps_what_is_open(browser: Browser) -> None:
    spans = chat_trace()
    growing = filled(spans[2:8])
    async with running_page(growing, browser) as (page, url):
        await open_trace(page, url)
        await expect(page.locator("#story")).to_have_text("In progress: spans come as they end.")
        await expect(page.locator(".missing .name")).to_have_text("not received")
        await page.locator("#rows .row").nth(1).click()
        for one in spans:
            growing.add(one)
        await expect(page.locator("#rows > li")).to_have_count(25)
        await expect(page.locator(".missing")).to_have_count(0)
        await expect(page.locator(".details")).to_have_count(1)
        await expect(page.locator("#rows > li").nth(2).locator(".row")).to_be_focused()


async def test_two_hundred_spans_and_a_deep_tree_fit(browser: Browser) -> None:
    wide = [span(1, 0, "root", 0, 400), *(span(number, 1, "step", number, number + 2) for number in range(2, 202))]
    deep = [span(number, number - 1 or 1, "down", number / 10, 390) for number in range(300, 350)]
    async with running_page(filled([*wide, *deep]), browser) as (page, url):
        await open_trace(page, url)
        await expect(page.locator("#rows > li")).to_have_count(252)
        assert await page.evaluate("document.documentElement.scrollWidth") <= DESKTOP["width"]
        widths = await page.evaluate(
            "[...document.querySelectorAll('.span')].map((bar) => bar.getBoundingClientRect().width)"
        )
        assert min(widths) >= 2


async def test_hostile_spans_stay_text(browser: Browser) -> None:
    hostile = [
        span(1, 0, CANARY, 0, 9, service=CANARY, instance=CANARY, attributes={CANARY: CANARY, "error.type": CANARY}),
        span(2, 1, "javascript:window.owned=1", 0, 1, error=CANARY),
    ]
    async with running_page(filled(hostile), browser) as (page, url):
        await page.goto(url)
        await expect(page.locator(".line a")).to_have_text(CANARY)
        await open_trace(page, url)
        for row in await page.locator("#rows .row").all():
            await row.click()
        await expect(page.locator("h1")).to_have_text(CANARY)
        await expect(page.locator(".details").first).to_contain_text(CANARY)
        await expect(page.locator("main img, main script, main iframe")).to_have_count(0)
        assert await page.evaluate("window.owned") is None


@pytest.mark.parametrize("path", ["/traces", f"/traces/{TRACE_ID}", f"/traces/{FAILED}"])
async def test_nothing_is_wider_than_a_phone(store: TraceStore, browser: Browser, path: str) -> None:
    async with running_page(store, browser, viewport=PHONE, is_mobile=True, has_touch=True) as (page, url):
        await page.goto(url + path)
        await page.locator(".line, #rows .row").first.wait_for()
        for row in await page.locator("#rows .row").all():
            await row.click()
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize(("scheme", "is_bright"), [("light", True), ("dark", False)])
async def test_the_system_says_light_or_dark_and_the_button_the_other(
    store: TraceStore, browser: Browser, scheme: Any, is_bright: bool
) -> None:
    brightness = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    async with running_page(store, browser, color_scheme=scheme) as (page, url):
        for path in ("/traces", f"/traces/{TRACE_ID}"):
            await page.goto(url + path)
            assert (await page.evaluate(brightness) > 128) == is_bright
            await page.locator("#theme").click()
            assert (await page.evaluate(brightness) > 128) != is_bright


async def test_a_trace_that_is_not_there_is_said_and_looked_for_again(browser: Browser) -> None:
    late = filled([])
    async with running_page(late, browser) as (page, url):
        await page.goto(f"{url}/traces/{TRACE_ID}")
        await expect(page.locator("#notice")).to_contain_text("No span of such a trace has come")
        for one in chat_trace():
            late.add(one)
        await expect(page.locator("#rows > li")).to_have_count(25)
        await expect(page.locator("#notice")).to_be_hidden()


async def test_a_clock_has_round_ticks_and_cuts_what_reaches_beyond(store: TraceStore, browser: Browser) -> None:
    async with running_page(store, browser) as (page, url):
        await page.goto(url)
        told = await page.evaluate(
            """async () => {
                const { Clock } = await import("/static/clock.js");
                const { hopsOf, hopOf } = await import("/static/hops.js");
                const clock = new Clock(100, 200);
                const hops = hopsOf(["llm-decoder-model", "x", "llm-decoder"]);
                return {
                    ticks: [clock.ticks(14), new Clock(0, 1240).ticks(14), new Clock(0, 0).ticks(14).length < 101],
                    seen: [clock.seen(0, 1000), clock.seen(150, 10), clock.seen(0, 99)],
                    hops: hops.map(({ parts }) => parts.map(({ part }) => part)),
                    odd: hopOf("__proto__"),
                };
            }"""
        )
        assert told["ticks"] == [[100, 120, 140, 160, 180, 200], [0, 200, 400, 600, 800, 1000, 1200], True]
        assert told["seen"] == [
            {"left": 0, "width": 100, "isCutLeft": True, "isCutRight": True},
            {"left": 50, "width": 10, "isCutLeft": False, "isCutRight": False},
            None,
        ]
        assert told["hops"] == [["llm-decoder", "model"], ["x"]]
        assert told["odd"] == {"data-hop": "other", "data-shade": "model"}


def test_no_file_holds_a_way_to_make_code_of_text() -> None:
    own = resources.files(local_cluster.traces).joinpath("static")
    for file in [*own.iterdir(), *files.SHARED.iterdir()]:
        content = file.read_text()
        assert not DANGEROUS.search(content), file.name
        assert not re.search(r"<(script|style)\b(?![^>]*\bsrc=)[^>]*>|\son[a-z]+=", content), file.name
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", content), file.name
