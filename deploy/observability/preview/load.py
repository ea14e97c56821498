"""Chats of all kinds against one gateway, for some minutes: most are answered, some are refused, shed or given up. Two
jobs are worked off behind them.

Media come in two waves, so that encoders wake, grow, and sleep in between. What becomes of a chat is not looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import httpx2

from bench.media import new_picture, new_sound
from trichord.client import OmniClient, image, image_url, user
from trichord.client.options import Degradation
from trichord.client.retries import RetryPolicy
from trichord.errors import TrichordError
from trichord.v1 import decoder_pb2, gateway_pb2, jobs_pb2

Span = tuple[float, float]
"""Begin and end, as shares of the whole time."""
ALWAYS: tuple[Span, ...] = ((0.0, 1.0),)
WAVES: tuple[Span, ...] = ((0.08, 0.34), (0.55, 0.8))
BURST: tuple[Span, ...] = ((0.55, 0.56),)
"""At the begin of the second wave, more than the room before a sleeping encoder takes."""
JOBS: tuple[Span, ...] = ((0.05, 0.051), (0.5, 0.501))
"""So short that one comes in each."""
NUM_ITEMS = 120
TIMEOUT_S = 60.0
NO_IMAGE = b"\x89PNG\r\n\x1a\n"
NOWHERE = "https://media.invalid/picture.png"
"""RFC 2606: a name that never resolves."""
SETTINGS = {
    # Some of the first images of the second wave find the room before the sleeping encoder full.
    "TRICHORD_WAKING_MAX_HELD": "20",
    "TRICHORD_FETCH_HOSTS": "media.invalid",
    # A GPU computes some 300 tokens of prompts while it reads the weights, so a step may as well take them.
    "TRICHORD_ENGINE_PROMPT_SHARE": "256",
}


class Kind(NamedTuple):
    """Chats that are alike: how one is asked, how many come in a second on average, and when."""

    ask: Callable[[], Awaitable[None]]
    per_s: float
    spans: tuple[Span, ...]


class Load:
    """Asks, and lets go of what comes back."""

    def __init__(self, client: OmniClient, http: httpx2.AsyncClient, model: str) -> None:
        self._client, self._http, self._model = client, http, model
        self._random = random.Random(1)  # noqa: S311
        self._known = [new_picture(), new_sound()]

    async def waves(self, seconds: float) -> None:
        """All of it, for so long and until the last is answered."""
        async with asyncio.TaskGroup() as group:
            for kind in self._kinds():
                for begin, end in kind.spans:
                    group.create_task(self._steadily(kind, begin * seconds, end * seconds))

    def _kinds(self) -> Iterator[Kind]:
        yield Kind(self._text, 5.0, ALWAYS)
        yield Kind(lambda: self._http_text(self._model), 0.5, ALWAYS)
        yield Kind(lambda: self._http_text("another"), 0.1, ALWAYS)
        yield Kind(self._given_up, 0.2, ALWAYS)
        yield Kind(self._picture, 0.3, WAVES)
        yield Kind(self._picture, 8.0, BURST)
        yield Kind(lambda: self._picture("answer_without"), 3.0, WAVES)
        yield Kind(self._sound, 1.0, WAVES)
        yield Kind(lambda: self._chat(user(*self._known, "Do they agree?")), 0.7, WAVES)
        yield Kind(self._undecodable, 0.3, WAVES)
        yield Kind(self._job, 0.1, JOBS)
        yield Kind(lambda: self._chat(user(image_url(NOWHERE), "What is this?")), 0.2, WAVES)

    async def _steadily(self, kind: Kind, begin_s: float, end_s: float) -> None:
        loop = asyncio.get_running_loop()
        end_s += loop.time()
        await asyncio.sleep(begin_s)
        async with asyncio.TaskGroup() as group:
            while loop.time() < end_s:
                group.create_task(_forgiven(kind.ask))
                await asyncio.sleep(self._random.expovariate(kind.per_s))

    async def _text(self) -> None:
        await self._chat(user(f"Tell me a story about lighthouse {self._random.random()}."))

    async def _http_text(self, model: str) -> None:
        question = {"role": "user", "content": "What is the capital of France?"}
        asked = {"model": model, "messages": [question], "max_completion_tokens": 16}
        await self._http.post("/v1/chat/completions", json=asked)

    async def _given_up(self) -> None:
        async with asyncio.timeout(1.0):
            await self._chat(user("Tell me a long story."), max_tokens=200)

    async def _picture(self, degradation: Degradation = "fail") -> None:
        picture = await asyncio.to_thread(new_picture)
        await self._chat(user(picture, "What does the sign say?"), degradation=degradation)

    async def _sound(self) -> None:
        await self._chat(user(await asyncio.to_thread(new_sound), "What was said?"))

    async def _undecodable(self) -> None:
        await self._chat(user(image(NO_IMAGE + self._random.randbytes(64)), "What is this?"))

    async def _job(self) -> None:
        """One item in forty has an image that is none, and fails for good."""
        messages = [user(f"Tell me a story about harbour {self._random.random()}.") for _ in range(NUM_ITEMS)]
        messages[::40] = [user(image(NO_IMAGE + self._random.randbytes(64)), "What is this?") for _ in messages[::40]]
        sampling = decoder_pb2.SamplingParams(max_tokens=24)
        await self._client.jobs.submit(
            [
                jobs_pb2.JobItem(
                    custom_id=str(number), request=gateway_pb2.ChatRequest(messages=[message], sampling=sampling)
                )
                for number, message in enumerate(messages)
            ]
        )

    async def _chat(
        self, message: gateway_pb2.Message, max_tokens: int = 24, degradation: Degradation = "fail"
    ) -> None:
        events = self._client.chat([message], timeout_s=TIMEOUT_S, max_tokens=max_tokens, degradation=degradation)
        async with contextlib.aclosing(events):
            async for _ in events:
                pass


async def run(grpc_target: str, http_url: str, seconds: float) -> None:
    """The whole load."""
    async with (
        OmniClient(grpc_target, retries=RetryPolicy(max_attempts=1)) as client,
        httpx2.AsyncClient(base_url=http_url, timeout=TIMEOUT_S, trust_env=False) as http,
    ):
        model = (await http.get("/v1/models")).json()["data"][0]["id"]
        await Load(client, http, model).waves(seconds)


async def _forgiven(ask: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(TrichordError, httpx2.HTTPError, TimeoutError):
        await ask()
