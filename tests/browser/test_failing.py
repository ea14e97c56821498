"""What goes wrong is shown as what it is, with the part it is about."""

from __future__ import annotations

import re

from playwright.async_api import Browser, expect

from tests.browser.browser_lab import KEY, Playground, Script, png, running_playground, saying
from tests.unit.gateway.fakes import STARTED, Events, chunk, raising
from tests.unit.gateway.lab import Lab
from trichord.errors import MediaError, UnavailableError
from trichord.v1 import decoder_pb2

BROKEN = MediaError("The image is cut off. Send the whole file.", field="image")


async def test_a_bad_image_is_named(playground: Playground) -> None:
    playground.lab.vision.step = raising(BROKEN)
    await playground.send("Hi")
    await playground.finished()
    await playground.attach("audio", "purr.wav", b"A")
    await playground.attach("image", "torn.png", png())
    await playground.send("And this?")
    error = playground.page.locator(".error")
    await expect(error).to_contain_text("The image is cut off. Send the whole file.")
    await expect(error).to_contain_text("An image cannot be used")
    await expect(error).to_contain_text("messages[2].content[1].image_url")
    await expect(error).to_contain_text("invalid_image · HTTP 400")
    await expect(error.get_by_text("torn.png")).to_be_visible()
    await expect(playground.page.locator(".blamed figcaption")).to_have_text("torn.png")
    await expect(error.get_by_role("button", name="Copy the request id")).to_have_text(re.compile(r"req_[0-9a-f]{32}"))


async def test_a_path_is_followed_to_its_attachment(playground: Playground) -> None:
    found = await playground.page.evaluate(
        """async () => {
            const { attachmentAt } = await import("/playground/conversation.js");
            const turn = (answer, ...attachments) => ({ answer, attachments });
            const turns = [turn("yes", "a"), turn("no"), turn("", "b", "c")];
            const parts = [[0, 0], [1, 0], [4, 1], [5, 0], [9, 9]];
            const paths = parts.map(([message, part]) => `messages[${message}].content[${part}].image_url`);
            return ["", "Be brief."].map((system) => paths.map((path) => attachmentAt(path, system, turns) ?? null));
        }"""
    )
    assert found == [["a", None, "c", None, None], [None, "a", None, "b", None]]


async def test_a_failed_message_can_be_edited_and_is_not_remembered(playground: Playground) -> None:
    playground.lab.vision.step = raising(BROKEN)
    await playground.attach("image", "torn.png", png())
    await playground.send("See")
    await playground.page.get_by_role("button", name="Edit").click()
    await expect(playground.page.locator("#prompt")).to_have_value("See")
    await playground.page.get_by_role("button", name="Remove torn.png").click()
    await playground.page.keyboard.press("Enter")
    await expect(playground.prose).to_have_text("Hello")
    [request] = playground.lab.decoder.calls.requests
    assert [part.text for message in request.messages for part in message.parts] == ["See"]


async def test_a_failed_message_can_be_tried_again(playground: Playground) -> None:
    path = "**/v1/chat/completions"
    refusal = {"error": {"message": "Come back soon.", "type": "server_error", "param": None, "code": "overloaded"}}
    await playground.page.route(path, lambda route: route.fulfill(status=503, json=refusal))
    await playground.attach("image", "cat.png", png())
    await playground.send("See")
    await expect(playground.page.locator(".error")).to_contain_text("Too busy just now")
    await playground.page.unroute(path)
    await playground.page.get_by_role("button", name="Try again").click()
    await expect(playground.prose).to_have_text("Hello")
    await expect(playground.page.locator(".turn")).to_have_count(1)
    assert [request.image for request in playground.lab.vision.calls.requests] == [png()]


async def test_an_answer_that_breaks_off_keeps_what_came(playground: Playground) -> None:
    async def broken(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Once upon", 1)
        raise UnavailableError("The decoder is restarting.")

    playground.lab.decoder.answer = broken
    await playground.send("Tell")
    await expect(playground.prose).to_have_text("Once upon")
    await expect(playground.page.locator(".error")).to_contain_text("A part of the cluster is away")


async def test_a_gateway_that_is_gone_is_told(playground: Playground) -> None:
    script = playground.lab.decoder.answer = Script("Half")
    await playground.page.route("**/v1/chat/completions", lambda route: route.abort("connectionrefused"))
    await playground.send("Hi")
    await expect(playground.page.locator(".error")).to_contain_text("The gateway cannot be reached")
    playground.complaints.clear()  # of net::ERR_CONNECTION_REFUSED
    script.go_on(2)


async def test_a_key_is_asked_for_and_kept_nowhere(lab: Lab, browser: Browser) -> None:
    async with running_playground(lab, browser, needs_key=True) as playground:
        await playground.open()
        page = playground.page
        await expect(page.locator("#served")).to_have_text("Needs a key")
        await playground.send("Hi")
        key = page.get_by_label("API key")
        await expect(key).to_be_focused()
        await key.fill("wrong")
        await key.blur()
        await expect(page.locator("#key-note")).to_have_text("This API key is not known here.")
        await key.fill(KEY)
        await key.blur()
        await expect(page.locator("#served")).to_have_text("fake")
        await page.keyboard.press("Escape")
        await expect(page.locator("#prompt")).to_have_value("Hi")
        await page.locator("#send").click()
        await expect(playground.prose).to_have_text("Hello")
        assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        await page.reload()
        await expect(page.locator("#served")).to_have_text("Needs a key")


async def test_a_decoder_that_is_away_is_told_and_comes_back(lab: Lab, browser: Browser) -> None:
    await lab.stop("decoder")
    async with running_playground(lab, browser) as playground:
        await playground.open()
        await expect(playground.page.locator("#served")).to_have_text("Away")
        await lab.restart("decoder")
        await playground.page.locator("#served").click()
        await expect(playground.page.locator("#served")).to_have_text("fake", timeout=20_000)
        lab.decoder.answer = saying("Back")
        await playground.send("Hi")
        await expect(playground.prose).to_have_text("Back")
