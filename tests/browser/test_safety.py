"""The page's policy, and that what a model or a file says stays text."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from playwright.async_api import expect

from gateway import playground as package
from gateway.playground.pages import POLICY
from tests.browser.browser_lab import Playground, png, saying

CANARY = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>'
DANGEROUS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|style=|localStorage"
)


@pytest.mark.parametrize(
    "answer",
    [
        CANARY,
        f"# {CANARY}",
        f"- {CANARY}",
        f"```html\n{CANARY}\n```",
        f"`{CANARY}`",
        f"**{CANARY}**",
        f"> {CANARY}",
        '[click](javascript:window.owned=1) ![x](https://example.com/x.png) <a href="javascript:window.owned=1">',
    ],
)
async def test_what_a_model_says_stays_text(playground: Playground, answer: str) -> None:
    playground.lab.decoder.answer = saying(*(answer[at : at + 7] for at in range(0, len(answer), 7)))
    await playground.send("Attack")
    await playground.finished()
    await expect(playground.prose).to_contain_text("window")
    assert await playground.page.evaluate("window.owned") is None
    await expect(playground.prose.locator("img, script, a, iframe, svg")).to_have_count(0)


async def test_a_file_name_and_a_message_stay_text(playground: Playground) -> None:
    name = CANARY.replace("/", "") + ".png"
    await playground.attach("image", name, png())
    await expect(playground.page.locator(".chip .name")).to_contain_text("<img src=x")
    await playground.send(CANARY)
    await playground.finished()
    await expect(playground.page.locator(".words")).to_have_text(CANARY)
    await expect(playground.page.locator("figcaption").first).to_have_text(name)
    assert await playground.page.evaluate("window.owned") is None


async def test_the_browser_is_told_to_run_nothing_but_the_pages_own_files(playground: Playground) -> None:
    response = await playground.page.request.get(playground.url)
    assert response.headers["content-security-policy"] == POLICY
    directives = dict(part.strip().partition(" ")[::2] for part in POLICY.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert directives["base-uri"] == directives["frame-ancestors"] == directives["form-action"] == "'none'"
    for name, value in (
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ):
        assert response.headers[name] == value
    for script in ("inline.textContent = 'window.owned = 1'", "inline.src = 'data:text/javascript,window.owned = 1'"):
        await playground.page.evaluate(
            f"{{ const inline = document.createElement('script'); {script}; document.body.append(inline) }}"
        )
    assert await playground.page.evaluate("window.owned") is None
    assert playground.complaints
    assert all("Content Security Policy" in told for told in playground.complaints)
    playground.complaints.clear()


async def test_everything_comes_from_the_gateway(playground: Playground) -> None:
    asked: list[str] = []
    playground.page.on("request", lambda request: asked.append(request.url))
    await playground.page.reload()
    await playground.send("Hi")
    await expect(playground.prose).to_have_text("Hello")
    assert asked
    assert all(url.startswith((playground.url, "blob:" + playground.url)) for url in asked)


async def test_a_file_that_has_not_changed_is_not_sent_again(playground: Playground) -> None:
    path = f"{playground.url}playground/main.js"
    first = await playground.page.request.get(path)
    again = await playground.page.request.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (first.status, again.status, await again.body()) == (200, 304, b"")
    changed = await playground.page.request.get(path, headers={"if-none-match": '"other"'})
    assert changed.status == 200


def test_no_file_holds_a_way_to_make_code_of_text() -> None:
    for file in resources.files(package).joinpath("static").iterdir():
        content = file.read_text()
        assert not DANGEROUS.search(content), file.name
        assert not re.search(r"<(script|style)\b(?![^>]*\bsrc=)[^>]*>|\son[a-z]+=", content), file.name
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)(?! and )", content.replace("https:// or", "")), (
            file.name
        )
