"""Typing, sending, streaming, stopping, and what is remembered."""

from __future__ import annotations

import asyncio

from playwright.async_api import expect

from tests.browser.browser_lab import Playground, Script, png, saying


async def test_a_message_is_sent_and_its_answer_shown(playground: Playground) -> None:
    await expect(playground.page.locator("#served")).to_have_text("fake")
    await playground.send("Hello there")
    await expect(playground.prose).to_have_text("Hello")
    [request] = playground.lab.decoder.calls.requests
    assert [part.text for message in request.messages for part in message.parts] == ["Hello there"]
    await expect(playground.page.locator(".asked .words")).to_have_text("Hello there")
    await expect(playground.page.locator("#prompt")).to_have_value("")


async def test_an_answer_grows_as_it_comes(playground: Playground) -> None:
    script = playground.lab.decoder.answer = Script("One ", "two ", "three")
    await playground.send("Count")
    await expect(playground.page.locator(".waiting")).to_have_text("Thinking")
    for shown in ("One", "One two", "One two three"):
        script.go_on()
        await expect(playground.prose).to_have_text(shown)
    await expect(playground.page.locator("#stop")).to_be_visible()
    script.go_on()
    await playground.finished()
    await expect(playground.page.locator("#status")).to_have_text("Answer complete")


async def test_the_stop_button_cancels_the_decoder(playground: Playground) -> None:
    script = playground.lab.decoder.answer = Script("Once ", "upon")
    await playground.send("Tell a story")
    script.go_on()
    await expect(playground.prose).to_have_text("Once")
    await playground.page.get_by_role("button", name="Stop answering").click()
    await asyncio.wait_for(playground.lab.decoder.calls.cancelled.wait(), 20)
    await playground.finished()
    await expect(playground.prose).to_have_text("Once")
    await expect(playground.page.locator(".facts")).to_contain_text("stopped")


async def test_escape_stops_before_the_first_token(playground: Playground) -> None:
    playground.lab.decoder.answer = Script("never")
    await playground.send("Wait")
    await asyncio.wait_for(playground.lab.decoder.calls.entered.wait(), 20)
    await playground.page.keyboard.press("Escape")
    await asyncio.wait_for(playground.lab.decoder.calls.cancelled.wait(), 20)
    await playground.finished()
    playground.lab.decoder.answer = saying("Here")
    await playground.send("Again")
    await expect(playground.prose).to_have_text("Here")
    said = [part.text for message in playground.lab.decoder.calls.requests[-1].messages for part in message.parts]
    assert said == ["Again"]


async def test_history_and_settings_go_with_the_next_message(playground: Playground) -> None:
    page = playground.page
    await page.get_by_role("button", name="Settings", exact=True).click()
    await page.get_by_label("System prompt").fill("Be brief.")
    await page.get_by_label("Temperature").fill("0.25")
    await page.get_by_label("Longest answer").fill("9")
    await page.keyboard.press("Escape")
    await playground.send("First")
    await playground.finished()
    await playground.send("Second")
    await playground.finished()
    request = playground.lab.decoder.calls.requests[-1]
    said = [part.text for message in request.messages for part in message.parts]
    assert said == ["Be brief.", "First", "Hello", "Second"]
    assert (request.sampling.temperature, request.sampling.max_tokens) == (0.25, 9)


async def test_a_new_chat_forgets(playground: Playground) -> None:
    script = playground.lab.decoder.answer = Script("Half")
    await playground.send("First")
    script.go_on()
    await expect(playground.prose).to_have_text("Half")
    await playground.attach("image", "cat.png", png())
    await playground.page.get_by_role("button", name="New chat").click()
    await asyncio.wait_for(playground.lab.decoder.calls.cancelled.wait(), 20)
    await expect(playground.page.locator(".turn")).to_have_count(0)
    await expect(playground.page.locator(".chip")).to_have_count(0)
    await expect(playground.page.locator("#welcome")).to_be_visible()
    playground.lab.decoder.answer = saying("Fresh")
    await playground.send("Second")
    await expect(playground.prose).to_have_text("Fresh")
    said = [part.text for message in playground.lab.decoder.calls.requests[-1].messages for part in message.parts]
    assert said == ["Second"]


async def test_shift_enter_makes_a_line_and_enter_alone_sends(playground: Playground) -> None:
    prompt = playground.page.locator("#prompt")
    await prompt.fill("one")
    await playground.page.keyboard.press("Shift+Enter")
    await playground.page.keyboard.type("two")
    await expect(prompt).to_have_value("one\ntwo")
    assert playground.lab.decoder.calls.requests == []
    await playground.page.keyboard.press("Enter")
    await expect(playground.prose).to_have_text("Hello")
    assert playground.lab.decoder.calls.requests[0].messages[0].parts[0].text == "one\ntwo"


async def test_nothing_is_sent_of_nothing(playground: Playground) -> None:
    await expect(playground.page.locator("#send")).to_be_disabled()
    await playground.send("  \n ")
    await expect(playground.page.locator(".turn")).to_have_count(0)


async def test_the_text_itself_is_copied(playground: Playground) -> None:
    await playground.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    playground.lab.decoder.answer = saying("**bold** move")
    await playground.send("Hi")
    await playground.page.get_by_role("button", name="Copy the answer").click()
    await expect(playground.page.get_by_text("Copied")).to_be_visible()
    assert await playground.page.evaluate("navigator.clipboard.readText()") == "**bold** move"
