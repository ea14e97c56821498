"""Images and sounds: picked, dropped, pasted, recorded, removed, and refused before they are sent."""

from __future__ import annotations

import io
import wave

from playwright.async_api import expect

from tests.browser.browser_lab import Playground, png


async def test_an_image_and_a_sound_go_to_their_encoders(playground: Playground) -> None:
    await playground.attach("image", "cat.png", png())
    await playground.attach("audio", "purr.wav", b"A")
    await expect(playground.page.locator(".chip")).to_have_count(2)
    await playground.send("What is this?")
    await expect(playground.prose).to_have_text("Hello")
    assert [request.image for request in playground.lab.vision.calls.requests] == [png()]
    assert [request.audio for request in playground.lab.audio.calls.requests] == [b"A"]
    [message] = playground.lab.decoder.calls.requests[0].messages
    assert [part.WhichOneof("part") for part in message.parts] == ["embedding", "embedding", "text"]
    await expect(playground.page.locator(".chip")).to_have_count(0)
    await expect(playground.page.locator(".media img")).to_have_js_property("naturalWidth", 48)
    await expect(playground.page.locator(".media audio")).to_be_visible()


async def test_a_medium_needs_no_words(playground: Playground) -> None:
    await playground.attach("image", "cat.png", png())
    await playground.send("")
    await expect(playground.prose).to_have_text("Hello")
    [message] = playground.lab.decoder.calls.requests[0].messages
    assert [part.WhichOneof("part") for part in message.parts] == ["embedding"]


async def test_a_removed_image_is_not_sent(playground: Playground) -> None:
    await playground.attach("image", "cat.png", png())
    await playground.page.get_by_role("button", name="Remove cat.png").click()
    await playground.send("Just text")
    await expect(playground.prose).to_have_text("Hello")
    assert playground.lab.vision.calls.requests == []


async def hold(playground: Playground, kind: str, name: str, content: bytes | int) -> None:
    """Drops, pastes or drags a file over the page; of a number, one of so many bytes."""
    await playground.page.evaluate(
        """([kind, name, content]) => {
            const held = new DataTransfer();
            held.items.add(new File([new Uint8Array(content)], name));
            const [type, member] = kind === "paste" ? [ClipboardEvent, "clipboardData"] : [DragEvent, "dataTransfer"];
            document.body.dispatchEvent(new type(kind, { [member]: held, bubbles: true, cancelable: true }));
        }""",
        [kind, name, content if isinstance(content, int) else list(content)],
    )


async def test_dropped_and_pasted_images_are_attached(playground: Playground) -> None:
    await hold(playground, "drop", "drop.png", png())
    await hold(playground, "paste", "paste.png", png())
    names = playground.page.locator(".chip .name")
    await expect(names).to_have_text(["drop.png1 KB", "paste.png1 KB"])
    await playground.send("Both")
    await expect(playground.prose).to_have_text("Hello")
    assert {request.image for request in playground.lab.vision.calls.requests} == {png()}


async def test_dragging_files_over_the_page_shows_where_they_go(playground: Playground) -> None:
    await hold(playground, "dragover", "cat.png", png())
    await expect(playground.page.locator("#drop")).to_be_visible()
    await hold(playground, "dragleave", "cat.png", png())
    await expect(playground.page.locator("#drop")).to_be_hidden()


async def test_a_file_of_another_kind_is_refused_by_name(playground: Playground) -> None:
    await playground.attach("image", "notes.pdf", b"%PDF")
    await expect(playground.page.locator("#notice")).to_contain_text("“notes.pdf” is neither an image")
    await playground.attach("image", "empty.png", b"")
    await expect(playground.page.locator("#notice")).to_have_text("“empty.png” is empty.")
    await hold(playground, "drop", "long.wav", 25 * 2**20 + 1)
    await expect(playground.page.locator("#notice")).to_contain_text("“long.wav” has 25.0 MB")
    await expect(playground.page.locator(".chip")).to_have_count(0)


async def test_the_microphone_is_recorded_as_wav(playground: Playground) -> None:
    record = playground.page.locator("#record")
    await record.click()
    await expect(playground.page.locator("#recorded")).to_have_text("0:01")
    await expect(record).to_have_attribute("aria-pressed", "true")
    await record.click()
    await expect(playground.page.locator(".chip .name")).to_contain_text("recording.wav")
    await playground.send("What was that?")
    await expect(playground.prose).to_have_text("Hello")
    [request] = playground.lab.audio.calls.requests
    with wave.open(io.BytesIO(request.audio)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 16000)
        assert sound.getnframes() > 8000
        assert any(sound.readframes(sound.getnframes())), "Chromium's fake microphone beeps"


async def test_a_recording_that_a_new_chat_ends_is_dropped(playground: Playground) -> None:
    await playground.page.locator("#record").click()
    await expect(playground.page.locator("#recorded")).to_be_visible()
    await playground.page.get_by_role("button", name="New chat").click()
    await expect(playground.page.locator("#recorded")).to_be_hidden()
    await expect(playground.page.locator("#record")).to_have_attribute("aria-pressed", "false")
    await playground.send("Hi")
    await expect(playground.prose).to_have_text("Hello")
    assert playground.lab.audio.calls.requests == []
