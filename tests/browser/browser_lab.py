"""A gateway's HTTP face with its playground, in front of fake services, and a real Chromium that looks at it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, async_playwright

from gateway.identity.guard import Call
from gateway.identity.principal import Principal, Scope
from gateway.openai_http.answering import ClusterCore
from gateway.openai_http.desk import Desk
from gateway.openai_http.routes import build
from gateway.openai_http.serving import serve_http
from gateway.openai_http.settings import HttpSettings
from gateway.playground import pages
from tests.unit.gateway.fakes import FINISHED, STARTED, Events, chunk
from tests.unit.gateway.lab import Lab
from trichord.errors import UnauthenticatedError
from trichord.v1 import decoder_pb2

KEY = "key-of-acme"
DESKTOP, PHONE = {"width": 1180, "height": 860}, {"width": 390, "height": 844}
REFUSED = "Failed to load resource: the server responded with a status of"
FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@dataclass
class Playground:
    """One test's page, what is behind it, and what its console said."""

    lab: Lab
    url: str
    page: Page
    complaints: list[str] = field(default_factory=list)

    async def open(self) -> None:
        await self.page.goto(self.url)
        await self.page.locator("#served:not([data-state=asking])").wait_for()

    async def send(self, words: str) -> None:
        await self.page.locator("#prompt").fill(words)
        await self.page.keyboard.press("Enter")

    async def attach(self, kind: str, name: str, content: bytes) -> None:
        file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        await self.page.locator(f"#{kind}-files").set_input_files(file)  # type: ignore[arg-type]

    async def finished(self) -> None:
        """Waits until the page is ready for the next message."""
        await self.page.locator("#send:not([hidden])").wait_for()

    @property
    def prose(self) -> Locator:
        """The last answer's text."""
        return self.page.locator(".turn:last-child .prose")

    def hears(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@contextlib.asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Debian's Chromium. Fails, rather than skips, where there is none."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        await browser.close()


@contextlib.asynccontextmanager
async def running_playground(
    lab: Lab, browser: Browser, needs_key: bool = False, traces_url: str = "", **context: Any
) -> AsyncIterator[Playground]:
    """The page is not opened yet. On exit it must not have complained of anything but refused requests."""
    settings = HttpSettings(drain_timeout_s=0.2, traces_url=traces_url)
    desk = Desk(settings, ClusterCore(lab.cluster), _admit_key if needs_key else _admit_all)
    options = {"viewport": DESKTOP, "reduced_motion": "reduce", **context}
    async with (
        serve_http(build(desk, pages.routes(has_traces=bool(traces_url))), settings) as running,
        await browser.new_context(**options) as tab,
    ):
        page = await tab.new_page()
        playground = Playground(lab, f"http://127.0.0.1:{running.port}/", page)
        page.on("console", playground.hears)
        page.on("pageerror", lambda error: playground.complaints.append(str(error)))
        yield playground
        assert [told for told in playground.complaints if not told.startswith(REFUSED)] == []


async def _admit_all(call: Call, scope: Scope | None) -> Principal:
    return Principal.of("everyone", "id", [Scope.CHAT], b"secret")


async def _admit_key(call: Call, scope: Scope | None) -> Principal:
    if call.authorization != f"Bearer {KEY}":
        raise UnauthenticatedError("This API key is not known here.")
    return await _admit_all(call, scope)


async def told_at_the_end(playground: Playground, words: str) -> dict[str, Any]:
    """Sends a message; the ``trichord`` member of what the page was then sent."""
    async with playground.page.expect_response("**/v1/chat/completions") as coming:
        await playground.send(words)
    lines = (await (await coming.value).text()).split("\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    [told] = [chunk["trichord"] for chunk in chunks if "trichord" in chunk]
    return told  # type: ignore[no-any-return]


class Script:
    """A decoder's answer that goes on only when the test says so."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts
        self._turns: asyncio.Queue[None] = asyncio.Queue()

    def go_on(self, steps: int = 1) -> None:
        """Lets so many more chunks out."""
        for _ in range(steps):
            self._turns.put_nowait(None)

    async def __call__(self, request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        for index, text in enumerate(self._texts):
            await self._turns.get()
            yield chunk(text, index)
        await self._turns.get()
        yield FINISHED


def saying(*texts: str) -> Any:
    """A decoder's answer of these chunks."""

    async def answer(request: decoder_pb2.GenerateRequest) -> Events:
        for event in (STARTED, *(chunk(text, index) for index, text in enumerate(texts)), FINISHED):
            yield event

    return answer


def png(width: int = 48, height: int = 32) -> bytes:
    """A small real image."""
    written = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(written, "PNG")
    return written.getvalue()
