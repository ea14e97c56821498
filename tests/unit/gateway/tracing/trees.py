"""Recorded spans as a tree to look at: a line each, children indented in the order in which they began.

``>`` is a call to another process, ``<`` its being served there, ``! REASON`` a failure.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from textwrap import dedent

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from tests.spans_lab import RecordedSpans
from tests.unit.gateway.lab import Lab
from trichord.telemetry import names

SOON_S = 20
"""Longer than anything here takes on a busy machine; reached only when something hangs."""

_ARROWS = {SpanKind.CLIENT: "> ", SpanKind.SERVER: "< "}


def tree(recorded: RecordedSpans) -> str:
    """All that was recorded; a span whose parent was not is at the left."""
    ids = {span.context.span_id for span in recorded.ended}
    children: dict[int, list[ReadableSpan]] = defaultdict(list)
    for span in sorted(recorded.ended, key=lambda span: span.start_time):
        children[span.parent.span_id if span.parent and span.parent.span_id in ids else 0].append(span)

    def lines(parent: int, depth: int) -> Iterator[str]:
        for span in children[parent]:
            yield "    " * depth + _line(span)
            yield from lines(span.context.span_id, depth + 1)

    return "\n".join(lines(0, 0))


def text(expected: str) -> str:
    """What ``tree`` is compared with, as it stands in a test."""
    return dedent(expected).strip()


def _line(span: ReadableSpan) -> str:
    name = _ARROWS.get(span.kind, "") + span.name.removeprefix("trichord.v1.")
    return f"{name} ! {span.attributes[names.ERROR_TYPE]}" if span.status.status_code is StatusCode.ERROR else name


async def until(condition: Callable[[], bool]) -> None:
    """Waits until it holds."""
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is another task's state, not ours to signal
            await asyncio.sleep(0.01)


async def kept(lab: Lab) -> None:
    """Waits until no embedding is being kept: nobody else does."""
    await until(lambda: not lab.cluster.embeddings._background)


async def ended(recorded: RecordedSpans, name: str, times: int = 1) -> None:
    """Waits until so many spans of a name have."""
    await until(lambda: len(recorded.named(name)) >= times)


async def known(lab: Lab, recorded: RecordedSpans) -> None:
    """Lets the gateway learn what is served, which it remembers for a while, and forgets the spans of it."""
    for encoder in lab.cluster.encoders.values():
        await encoder.fingerprint(SOON_S)
    await lab.cluster.decoder.model(SOON_S)
    recorded.clear()


class AnyHost:
    """A fetcher that finds an image at every address."""

    def check(self, url: str) -> None:
        pass

    async def fetch(self, url: str, timeout_s: float) -> bytes:
        return url.encode()

    async def close(self) -> None:
        pass
