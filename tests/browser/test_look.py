"""Phone, light and dark, keyboard, names for who listens, and Markdown."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.browser_lab import PHONE, Playground, running_playground, saying, told_at_the_end
from tests.unit.gateway.lab import Lab

MARKDOWN = """# Title
First **bold** and *slanted* and `a*b*c`,
2 * 3 * 4 = 24, snake_case_name.

- one
- two
  more

3. three
4. four

> quoted

```python
**not bold**
```
"""


async def paper(page: Page) -> int:
    """How bright the page's background is, 0 to 255."""
    red: int = await page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    return red


@pytest.mark.parametrize(("scheme", "is_bright"), [("light", True), ("dark", False)])
async def test_the_system_says_light_or_dark_and_the_button_the_other(
    lab: Lab, browser: Browser, scheme: Any, is_bright: bool
) -> None:
    async with running_playground(lab, browser, color_scheme=scheme) as playground:
        await playground.open()
        assert (await paper(playground.page) > 128) == is_bright
        toggle = playground.page.locator("#theme")
        await toggle.click()
        assert (await paper(playground.page) > 128) != is_bright
        await toggle.click()
        assert (await paper(playground.page) > 128) == is_bright


async def test_nothing_is_wider_than_a_phone(lab: Lab, browser: Browser) -> None:
    async with running_playground(lab, browser, viewport=PHONE, is_mobile=True, has_touch=True) as playground:
        await playground.open()
        lab.decoder.answer = saying("w" * 200, "\n\n```\n", "c" * 300, "\n```\n")
        await playground.send("u" * 200)
        await playground.finished()
        await expect(playground.page.locator(".stages")).to_be_visible()
        assert await playground.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert await playground.page.evaluate("document.querySelector('#scroller').scrollWidth") <= PHONE["width"]
        await playground.page.get_by_role("button", name="Settings", exact=True).tap()
        drawer = await playground.page.locator("#settings").bounding_box()
        assert drawer is not None
        assert drawer["x"] >= 0
        assert drawer["x"] + drawer["width"] <= PHONE["width"]


async def test_every_control_has_a_name(playground: Playground) -> None:
    for state in ("resting", "settings"):
        if state == "settings":
            await playground.page.get_by_role("button", name="Settings", exact=True).click()
        nameless = await playground.page.evaluate(
            """() => {
                const named = (one) => one.ariaLabel || one.labels?.length || one.getAttribute("aria-labelledby");
                return [...document.querySelectorAll("button, input, textarea, svg[role=img], audio, dialog")]
                    .filter((one) => !named(one) && !one.textContent.trim()).map((one) => one.outerHTML);
            }"""
        )
        assert nameless == []
    slider = playground.page.get_by_role("slider", name="Temperature")
    await slider.focus()
    await playground.page.keyboard.press("ArrowRight")
    await expect(playground.page.locator("#temperature-value")).to_have_text("0.75")


async def test_an_idea_is_asked_by_keyboard_alone(playground: Playground) -> None:
    idea = playground.page.get_by_role("button", name="What can you do?")
    await idea.focus()
    await playground.page.keyboard.press("Enter")
    await expect(playground.prose).to_have_text("Hello")


async def test_an_answer_is_followed_until_the_reader_scrolls_away(playground: Playground) -> None:
    page = playground.page
    playground.lab.decoder.answer = saying(*("line\n\n" for _ in range(60)))
    await playground.send("Long")
    await expect(page.locator(".waterfall")).to_be_in_viewport()
    await page.evaluate("document.querySelector('#scroller').scrollTop = 0")
    await page.wait_for_function("document.querySelector('#scroller').scrollTop === 0")
    await page.evaluate("document.querySelector('#turns').append('x'.repeat(9000))")
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert await page.evaluate("document.querySelector('#scroller').scrollTop") == 0


async def test_markdown_becomes_elements(playground: Playground) -> None:
    playground.lab.decoder.answer = saying(MARKDOWN)
    await playground.send("Show")
    await playground.finished()
    prose = playground.prose
    await expect(prose.locator("h3")).to_have_text("Title")
    await expect(prose.locator("p strong")).to_have_text("bold")
    await expect(prose.locator("p em")).to_have_text("slanted")
    await expect(prose.locator("p code")).to_have_text("a*b*c")
    await expect(prose.locator("p")).to_contain_text("2 * 3 * 4 = 24, snake_case_name.")
    await expect(prose.locator("ul li")).to_have_text(["one", "two more"])
    await expect(prose.locator("ol li")).to_have_text(["three", "four"])
    await expect(prose.locator("ol")).to_have_attribute("start", "3")
    await expect(prose.locator("blockquote")).to_have_text("quoted")
    await expect(prose.locator("pre code")).to_have_text("**not bold**")
    await expect(prose.locator("pre strong")).to_have_count(0)


async def test_no_text_takes_markdown_long(playground: Playground) -> None:
    num_blocks = await playground.page.evaluate(
        """async () => {
            const { rendered } = await import("/playground/markdown.js");
            const hard = ["*", "**", "`", "- ", "> ", "# ", "```\\n", "**a ", "*a", "``a` "];
            return hard.map((one) => rendered(one.repeat(20000)).length);
        }"""
    )
    assert all(number > 0 for number in num_blocks)


@pytest.mark.parametrize("has_traces", [True, False])
async def test_an_answer_links_to_its_trace_where_there_is_a_way(lab: Lab, browser: Browser, has_traces: bool) -> None:
    traces_url = "https://traces.example/{trace_id}" if has_traces else ""
    async with running_playground(lab, browser, traces_url=traces_url) as playground:
        await playground.open()
        told = await told_at_the_end(playground, "Hi")
        link = playground.page.locator(".facts").get_by_role("link", name="Trace")
        await expect(playground.page.locator(".stages")).to_be_visible()
        await expect(link).to_have_count(int(has_traces))
        if has_traces:
            assert await link.get_attribute("href") == f"/traces/{told['receipt']['trace_id']}"
